#!/bin/sh
# Brings the databases up to date, makes the first admin, the bucket and the store. Safe to run again.
set -eu

airflow db migrate
airflow users list -o plain | grep -qwF "$FIRST_ADMIN" || airflow users create --role Admin \
  --username "$FIRST_ADMIN" --email "$FIRST_ADMIN" --password "$FIRST_ADMIN_PASSWORD" \
  --firstname First --lastname Admin
case "$SERVER_RUNTIME" in
  nvidia) airflow pools set gpu "${GPU_COUNT:-1}" "One slot for each GPU" ;;
esac
python /opt/mir-ops/docker/airflow/prepare.py
