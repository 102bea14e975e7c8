"""The console over one store on loopback, for `console.py`: prints its port and serves."""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn

from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.store import Store


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the store")
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    options = parser.parse_args()
    store = Store.open(options.url, access_key=options.access_key, secret_key=options.secret_key)
    with tempfile.TemporaryDirectory(prefix="mir-console-") as folder:
        sources = Sources(store, Catalog.open(f"sqlite:///{Path(folder) / 'catalog.db'}"))
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(create_app(lambda: sources), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
