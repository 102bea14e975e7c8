#!/usr/bin/env bash
# Makes an environment with Label Studio, and a migrated data folder that servers start from as a
# copy. A second call notices that nothing changed. About 140 MB to download, 1 GB of disk.
set -eu -o pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
STUDIO=${STUDIO:-.mir-label-studio}
stamp=$STUDIO/.installed
wanted="$PWD $STUDIO $(cat constraints-label-studio.txt scripts/install-label-studio.sh | cksum)"

mkdir -p "$STUDIO"
exec 9>"$STUDIO/.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi

rm -rf "$STUDIO/venv" "$STUDIO/template" "$stamp"
echo "Installing Label Studio into $STUDIO (a few minutes at first)" >&2
"$PYTHON" -m venv "$STUDIO/venv"
"$STUDIO/venv/bin/pip" install --quiet --disable-pip-version-check \
  -r constraints-label-studio.txt
"$STUDIO/venv/bin/python" -m compileall -q -j 0 "$STUDIO"/venv/lib/python*/site-packages \
  >/dev/null 2>&1 || true

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
user=labels@example.org password=$(random 12) token=$(random 20)
mkdir "$STUDIO/template"
if ! LABEL_STUDIO_BASE_DATA_DIR=$PWD/$STUDIO/template LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true \
  COLLECT_ANALYTICS=False LATEST_VERSION_CHECK=False SENTRY_DSN= FRONTEND_SENTRY_DSN= \
  "$STUDIO/venv/bin/label-studio" init -q \
  --username "$user" --password "$password" --user-token "$token" >"$STUDIO/init.log" 2>&1; then
  tail -n 20 "$STUDIO/init.log" >&2
  exit 1
fi
printf '{"user": "%s", "password": "%s", "token": "%s"}\n' "$user" "$password" "$token" \
  >"$STUDIO/template/login.json"
echo "$wanted" >"$stamp"
echo "Installed: Label Studio, $(du -sh "$STUDIO" | cut -f1) in $STUDIO" >&2
