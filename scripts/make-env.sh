#!/usr/bin/env bash
# Writes .env from .env.example, with secrets of its own: nothing is asked but the first admin's
# address, and that only where somebody sits at a terminal (or give FIRST_ADMIN=…). A .env that is
# there stays as it is. YMIR_PATH=… names another work folder, the argument another file.
set -eu -o pipefail
cd "$(dirname "$0")/.."
umask 077
file=${1:-.env}

if [ -e "$file" ]; then
  echo "There is a $file already: it stays as it is"
  exit 0
fi

work=${YMIR_PATH:-$PWD/ymir-workplace}
case "$work" in
  /*) ;;
  *) work=$PWD/$work ;;
esac
case "$work" in
  *[!A-Za-z0-9/._-]*)
    echo "error: \`$work\` has characters other than letters, digits and ./_-" >&2
    echo "hint: name another folder: make env YMIR_PATH=/srv/mir" >&2
    exit 1 ;;
esac
admin=${FIRST_ADMIN:-}
if [ -z "$admin" ] && [ -t 0 ]; then
  read -r -p "E-mail address of the first admin [admin@example.org]: " admin
fi

# Tasks run as whoever owns the work folder: the one who calls this, or 50000 where that is root.
user=$(id -u)
mkdir -p "$work/ymir-sharing" "$work/labels"
if [ "$user" -eq 0 ]; then
  user=50000
  chown "$user:0" "$work" "$work/ymir-sharing" "$work/labels"
fi
chmod 755 "$work" "$work/ymir-sharing" "$work/labels"
socket=/var/run/docker.sock
group=$(stat -c %g "$socket" 2>/dev/null || echo 999)

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
fernet() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }
own_images() { docker image inspect mir-ops/postgres:0.1.0 mir-ops/s3:0.1.0 >/dev/null 2>&1; }

while IFS= read -r line; do
  case "$line" in
    YMIR_PATH=*) line=YMIR_PATH=$work ;;
    AIRFLOW_UID=*) line=AIRFLOW_UID=$user ;;
    DOCKER_GID=*) line=DOCKER_GID=$group ;;
    FIRST_ADMIN=*) line=FIRST_ADMIN=${admin:-admin@example.org} ;;
    FERNET_KEY=*) line=FERNET_KEY=$(fernet) ;;
    LABEL_TOOL_HOST_IP=*) line=LABEL_TOOL_HOST_IP=http://127.0.0.1 ;;
    LABEL_TOOL_TOKEN=*) line=LABEL_TOOL_TOKEN=$(random 20) ;;
    FIRST_ADMIN_PASSWORD=*) line=FIRST_ADMIN_PASSWORD=$(random 10) ;;
    '# COMPOSE_FILE='*) if own_images; then line=${line#'# '}; fi ;;
    *=set_your_*) line=${line%%=*}=$(random 24) ;;
  esac
  printf '%s\n' "$line"
done <.env.example >"$file.new"
sh docker/check-env.sh "$file.new"
mv "$file.new" "$file"
echo "Wrote $file: work folder $work, first admin ${admin:-admin@example.org} (password in there)"
