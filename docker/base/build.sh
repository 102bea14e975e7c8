#!/bin/sh
# Builds the base image of our executors from Debian packages alone: no image registry is needed.
#
#   docker/base/build.sh [NAME]          (root, debootstrap, docker; 1-2 minutes, about 120 MB)
#
# DEBIAN_MIRROR picks another mirror. Where a registry is reachable, `python:3.12-slim-bookworm`
# serves as BASE_IMAGE as well, after `pip install pyyaml`.
set -eu

name="${1:-mir-ops/base:bookworm}"
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase \
    --include=ca-certificates,python3,python3-venv,python3-yaml \
    bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"

# A machine behind its own certificate authority has a bundle of its own.
if [ -f "${SSL_CERT_FILE:-}" ]; then
    cp "$SSL_CERT_FILE" "$root/etc/ssl/certs/ca-certificates.crt"
fi

# Without these, every .deb and apt's package caches stay in each image built on this one.
cat >"$root/etc/apt/apt.conf.d/docker-clean" <<'EOF'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
APT::Install-Recommends "0";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
EOF
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin \
    "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
    "$root"/usr/share/locale/*
ln -sf python3 "$root/usr/bin/python"

tar -C "$root" -c . | docker import \
    --change 'ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1' --change 'CMD ["python3"]' - "$name" >/dev/null
docker image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "$name"
