"""Brings the catalog up to date, makes the bucket and the store in it. Safe to run again."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

import boto3

from mir_ops.catalog import Catalog
from mir_ops.store import Store

Catalog.open(os.environ["MIR_CATALOG"])
url = os.environ["MIR_STORE"]
parts = urlsplit(url)
endpoint = parse_qs(parts.query)["endpoint_url"][0]
client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
if parts.netloc not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    client.create_bucket(Bucket=parts.netloc)
store = Store.open(url, create=True)
print(f"Store {store.id} in {parts.netloc}{parts.path}")
