#!/bin/bash
# Starts PostgreSQL as the public image `postgres` does: POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB and the .sql and .sh files of /docker-entrypoint-initdb.d count when the data folder
# is empty. Arguments go to the server.
set -eu -o pipefail

PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?is not set}"
  # Half an initialisation, of a container that was killed, is begun anew.
  find "$PGDATA" -mindepth 1 -delete
  making=$PGDATA/making
  initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --encoding=UTF8 \
    --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 "$making"
  echo "host all all all scram-sha-256" >> "$making/pg_hba.conf"
  pg_ctl -D "$making" -w -o "-c listen_addresses=''" start
  [ "$database" = postgres ] || createdb --username="$user" "$database"
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sql) psql --username="$user" --dbname="$database" -v ON_ERROR_STOP=1 -q -f "$file" ;;
      *.sh) bash "$file" ;;
    esac
  done
  pg_ctl -D "$making" -w stop
  # The file that says that all is there comes last.
  mv "$making/PG_VERSION" "$PGDATA/.version"
  find "$making" -mindepth 1 -maxdepth 1 -exec mv -t "$PGDATA" {} +
  rmdir "$making"
  sync
  mv "$PGDATA/.version" "$PGDATA/PG_VERSION"
fi

exec postgres -c listen_addresses='*' "$@"
