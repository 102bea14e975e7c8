"""Runs `mir restore` on the backup that comes as a tar on stdin; arguments are passed on."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import parse_qs, urlsplit

import boto3

NAMES = ("backup.json", "catalog.jsonl", "refs.jsonl")

parts = urlsplit(os.environ["MIR_STORE"])
client = boto3.client(
    "s3", endpoint_url=parse_qs(parts.query)["endpoint_url"][0], region_name="us-east-1"
)
# Only the bucket: a store made in it would be another one than the one that was lost.
if parts.netloc not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    client.create_bucket(Bucket=parts.netloc)

folder = Path(mkdtemp())
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for member in archive:
        if member.name in NAMES and (content := archive.extractfile(member)) is not None:
            with (folder / member.name).open("wb") as file:
                shutil.copyfileobj(content, file)
os.chdir(folder)
os.execvp("mir", ["mir", "restore", str(folder), *sys.argv[1:]])
