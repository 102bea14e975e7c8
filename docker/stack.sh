#!/bin/sh
# What `make up`, `make down` and `make status` do: sh docker/stack.sh up | down | status
# COMPOSE names docker-compose 1.29 ("docker-compose") or the plugin ("docker compose").
set -eu
cd "$(dirname "$0")/.."

compose=${COMPOSE:-docker-compose}
setting() { sed -n "s/^$1=//p" .env | tail -n 1 | tr -d "\"'"; }
[ "$(setting LABEL_TOOL)" != label_studio ] || [ -n "$(setting LABEL_TOOL_URL)" ] \
  || compose="$compose --profile label-studio"
[ "$(setting METRICS)" != True ] || compose="$compose --profile metrics"
[ "$(setting GRAFANA)" != True ] || compose="$compose --profile grafana"

# Each service, and how it is: healthy, starting, unhealthy, or what its container does.
states() {
  # shellcheck disable=SC2046
  set -- $($compose ps -q)
  [ $# -eq 0 ] || docker inspect "$@" --format \
    '{{index .Config.Labels "com.docker.compose.service"}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}} {{.State.ExitCode}}' | sort
}

wait_healthy() {
  for _ in $(seq 300); do
    states=$(states)
    if wrong=$(printf '%s\n' "$states" | grep -E ' (exited|dead) [1-9]'); then break; fi
    if [ -n "$states" ] && ! printf '%s\n' "$states" | grep -qvE ' (healthy|exited) 0$'; then
      return
    fi
    sleep 1
  done
  printf '%s\n' "$states" >&2
  echo "error: not everything is healthy: ${wrong:-it has had five minutes}" >&2
  echo "hint: make logs" >&2
  exit 1
}

need_runtime() {
  [ "$(setting SERVER_RUNTIME)" = nvidia ] || return 0
  docker info --format '{{json .Runtimes}}' | grep -q '"nvidia"' && return
  echo "error: SERVER_RUNTIME is nvidia, and the engine has no runtime of that name" >&2
  echo "hint: install nvidia-container-toolkit, run \`nvidia-ctk runtime configure\`, restart the engine" >&2
  exit 1
}

case "$1" in
  up)
    need_runtime
    work=$(setting YMIR_PATH)
    mkdir -p "$work/ymir-sharing" "$work/labels"
    $compose up -d
    wait_healthy
    url=$(setting PUBLIC_URL)
    echo "Healthy: ${url:-http://127.0.0.1:12001}   user $(setting FIRST_ADMIN), password in .env"
    ;;
  down) $compose down ;;
  status)
    states
    $compose exec -T airflow-scheduler python /opt/mir-ops/docker/airflow/doctor.py
    ;;
esac
