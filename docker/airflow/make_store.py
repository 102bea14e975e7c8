"""Makes the bucket of the connection `mir_default` and the store in it. Safe to run again."""

from __future__ import annotations

import json
import os
from urllib.parse import parse_qs, urlsplit

import boto3

from mir_ops.store import Store

connection = json.loads(os.environ["AIRFLOW_CONN_MIR_DEFAULT"])
keys = connection["login"], connection["password"]
url = connection["extra"]["store_url"]
parts = urlsplit(url)
client = boto3.client(
    "s3",
    endpoint_url=parse_qs(parts.query)["endpoint_url"][0],
    region_name="us-east-1",
    aws_access_key_id=keys[0],
    aws_secret_access_key=keys[1],
)
if parts.netloc not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    client.create_bucket(Bucket=parts.netloc)
store = Store.open(url, create=True, access_key=keys[0], secret_key=keys[1])
print(f"Store {store.id} in {parts.netloc}{parts.path}")
