#!/bin/sh
# Builds the image of one executor: executors/build.sh NAME   (NAME: sample, detector, torchvision)
#
# BASE_IMAGE names another base; VERSION another tag than the project's; extra arguments go to
# `docker build`, as in `executors/build.sh detector --build-arg TORCH=torch==2.13.0`.
# PIP_WHEELS is a folder of wheels to install from instead of an index. WEIGHTS is a file of weights
# that the executor `torchvision` starts from.
set -eu

cd "$(dirname "$0")"
name="$1"
shift
version="${VERSION:-$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ../mir_ops/__init__.py)}"
base="${BASE_IMAGE:-mir-ops/base:bookworm}"

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
cp -r sdk "$name" "$context"
mkdir -p "$context/wheels"
if [ -n "${PIP_WHEELS:-}" ]; then
    cp "$PIP_WHEELS"/*.whl "$context/wheels"
fi
if [ -n "${WEIGHTS:-}" ]; then
    cp "$WEIGHTS" "$context/wheels/weights.pth"
    set -- --build-arg WEIGHTS=weights.pth "$@"
fi
DOCKER_BUILDKIT=0 docker build --quiet --build-arg "BASE_IMAGE=$base" \
    --file "$name/Dockerfile" --tag "mir-ops/$name:$version" "$@" "$context" >/dev/null
docker image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "mir-ops/$name:$version"
