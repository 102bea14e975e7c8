#!/bin/sh
# Brings the databases up to date, makes the first admin, the bucket and the store. Safe to run again.
set -eu

airflow db migrate
# Reads FIRST_ADMIN and FIRST_ADMIN_PASSWORD: arguments of a command are for everybody to see.
python -m mir_airflow.first_users
case "$SERVER_RUNTIME" in
  nvidia) airflow pools set gpu "${GPU_COUNT:-1}" "One slot for each GPU" ;;
esac
for pool in ${GPU_POOLS:-}; do
  airflow pools set "${pool%%=*}" "${pool#*=}" "One slot for each GPU"
done
python /opt/mir-ops/docker/airflow/prepare.py
