#!/bin/sh
# Builds every image of docker-compose.build.yaml, and Redis, from packages of Debian and PyPI alone.
# Dependencies are layers of their own: after a change of our code this takes seconds.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' mir_ops/__init__.py)
for image in ${*:-postgres redis s3 label-studio airflow prometheus}; do
  DOCKER_BUILDKIT=0 docker build --quiet \
    --build-arg "BASE_IMAGE=${BASE_IMAGE:-mir-ops/base:bookworm}" \
    --file "docker/$image/Dockerfile" --tag "mir-ops/$image:$version" . >/dev/null
  docker image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "mir-ops/$image:$version"
done
