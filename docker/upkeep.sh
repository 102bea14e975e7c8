#!/usr/bin/env bash
# What `make backup`, `restore`, `upgrade` and `tidy` do: bash docker/upkeep.sh backup | restore | upgrade | tidy
# COMPOSE names docker-compose 1.29 ("docker-compose") or the plugin ("docker compose").
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077

compose=${COMPOSE:-docker-compose}
databases=(airflow mir labelstudio)
setting() { sed -n "s/^$1=//p" .env | tail -n 1 | tr -d "\"'"; }
[ "$(setting LABEL_TOOL)" != label_studio ] || [ -n "$(setting LABEL_TOOL_URL)" ] \
  || compose="$compose --profile label-studio"

fail() {
  echo "error: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

in_postgres() { $compose exec -T postgres "$@"; }
has_database() {
  in_postgres psql -U mir -d postgres -Atc "SELECT 1 FROM pg_database WHERE datname = '$1'" | grep -qx 1
}

# Airflow's database first: what its runs did since is in the catalog. Then the catalog and the
# store's refs; Label Studio's last: it has every task that the catalog knows.
backup() {
  local dir=${1:?} objects=${OBJECTS:+--objects $OBJECTS}
  [ ! -e "$dir" ] || fail "\`$dir\` exists" "Name a new folder: make backup DIR=…"
  mkdir -p "$dir.partial"
  in_postgres pg_dump -U mir --format=custom airflow > "$dir.partial/airflow.dump"
  if $compose exec -T airflow-scheduler mir backup --help > /dev/null 2>&1; then
    # shellcheck disable=SC2086
    $compose exec -T airflow-scheduler sh -euc \
      'd=$(mktemp -d); trap "rm -rf $d" EXIT; mir backup "$d" "$@" >&2; tar -C "$d" -c $(ls "$d")' sh $objects \
      | tar -C "$dir.partial" --no-same-owner -x
  else # a version from before there were backups runs: its catalog alone
    in_postgres pg_dump -U mir --format=custom mir > "$dir.partial/mir.dump"
  fi
  if has_database labelstudio; then
    in_postgres pg_dump -U mir --format=custom labelstudio > "$dir.partial/labelstudio.dump"
  fi
  (cd "$dir.partial" && shopt -s nullglob && sha256sum -- *.dump *.json* > SHA256SUMS)
  mv "$dir.partial" "$dir"
  echo "A backup is in $dir. Keep .env elsewhere, too: its FERNET_KEY opens Airflow's secrets"
  forget_backups "$dir"
}

# Of those that have the name of a time, and lie beside this one, the newest stay; and what older
# ones that broke off left goes.
forget_backups() {
  local keep folder time='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z' kept old
  keep=$(setting KEEP_BACKUPS) folder=$(dirname "$1")
  [[ $keep =~ ^[1-9][0-9]*$ && $(basename "$1") =~ ^$time$ ]] || return 0
  kept=$(cd "$folder" && ls -d -- */SHA256SUMS | sed 's,/.*,,' | grep -Ex "$time" | sort | tail -n "$keep" | head -n 1)
  for old in $(cd "$folder" && ls | grep -Ex "$time(\.partial)?"); do
    if [[ $old < $kept ]]; then
      rm -r -- "${folder:?}/$old"
      echo "Removed $folder/$old: KEEP_BACKUPS is $keep"
    fi
  done
}

# What only grows in Airflow's database, and what no round needs.
tidy() {
  $compose exec -T airflow-scheduler sh /opt/mir-ops/docker/airflow/tidy.sh "$(setting KEEP_DAYS)"
}

check_backup() {
  [ -f "$1/SHA256SUMS" ] || fail "There is no whole backup in \`$1\`" "Name one: make restore DIR=…"
  (cd "$1" && sha256sum --check --quiet SHA256SUMS) \
    || fail "The backup in \`$1\` is damaged" "Take an earlier one"
}

services() { $compose config --services | grep -E '^(airflow-(apiserver|scheduler|dag-processor|triggerer|worker.*)|label-studio)$'; }

# shellcheck disable=SC2046
stop_all() { $compose stop $(services); }

wait_healthy() {
  local service
  for service in "$@"; do
    for _ in $(seq 300); do
      if docker inspect --format '{{.State.Health.Status}}' "$($compose ps -q "$service")" | grep -qx healthy; then
        continue 2
      fi
      sleep 1
    done
    fail "\`$service\` is not healthy: it has had five minutes" "make logs ARGS=$service"
  done
}

has_runs() {
  in_postgres psql -U mir -d airflow -Atc "SELECT count(*) > 0 FROM dag_run" 2>/dev/null | grep -qx t
}

# Into a database of another name, which then takes the place of the old one: that is kept.
restore_database() {
  local name=$1 dump=$2 stamp=$3
  in_postgres psql -q -U mir -d postgres -c "DROP DATABASE IF EXISTS ${name}_restored" -c "CREATE DATABASE ${name}_restored"
  in_postgres pg_restore -U mir --no-owner --exit-on-error -d "${name}_restored" < "$dump"
  if has_database "$name"; then
    in_postgres psql -q -U mir -d postgres \
      -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$name'" \
      -c "ALTER DATABASE $name RENAME TO ${name}_before_$stamp" > /dev/null
    echo "What the database \`$name\` had is in \`${name}_before_$stamp\`"
  fi
  in_postgres psql -q -U mir -d postgres -c "ALTER DATABASE ${name}_restored RENAME TO $name"
}

restore() {
  local dir=${1:?} stamp words=() name
  stamp=$(date -u +%Y%m%d%H%M%S)
  check_backup "$dir"
  $compose up -d postgres s3
  wait_healthy postgres s3
  if has_runs && [ -z "${OVERWRITE:-}" ]; then
    fail "Airflow's database has runs, which the backup would replace" "make restore DIR=$dir OVERWRITE=1"
  fi
  stop_all
  [ -z "${OVERWRITE:-}" ] || words+=(--overwrite)
  [ -z "${OBJECTS:-}" ] || words+=(--objects "$OBJECTS")
  if [ -f "$dir/backup.json" ]; then
    tar -C "$dir" -c backup.json catalog.jsonl refs.jsonl | $compose run --rm -T --no-deps \
      --entrypoint python airflow-init /opt/mir-ops/docker/airflow/restore.py "${words[@]}"
  fi
  for name in "${databases[@]}"; do
    [ ! -f "$dir/$name.dump" ] || restore_database "$name" "$dir/$name.dump" "$stamp"
  done
  COMPOSE=${COMPOSE:-docker-compose} sh docker/stack.sh up
}

# The checkout has the new version already; what runs has the old one until it is stopped.
upgrade() {
  backup "${1:?}"
  $compose build
  stop_all
  $compose up --no-deps --force-recreate airflow-init
  [ "$(docker inspect --format '{{.State.ExitCode}}' "$($compose ps -aq airflow-init 2>/dev/null || $compose ps -q airflow-init)")" = 0 ] \
    || fail "The databases were not brought up to date" "What it said is above. All is stopped: go on with make upgrade, or go back with the old checkout and make restore DIR=$1 OVERWRITE=1"
  COMPOSE=${COMPOSE:-docker-compose} sh docker/stack.sh up
  COMPOSE=${COMPOSE:-docker-compose} sh docker/stack.sh status
}

"$@"
