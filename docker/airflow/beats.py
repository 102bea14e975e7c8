"""`python beats.py TriggererJob`: whether that job of this container has shown signs of life lately.

Says what `airflow jobs check --local` says, without loading Airflow: a health check runs often.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg2

RECENT = """
SELECT 1 FROM job WHERE job_type = %s AND hostname = %s AND state = 'running'
AND latest_heartbeat > now() - interval '90 seconds' LIMIT 1
"""

url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "", 1)
connection = psycopg2.connect(url, connect_timeout=5)
with connection.cursor() as cursor:
    cursor.execute(RECENT, (sys.argv[1], socket.getfqdn()))
    beats = cursor.fetchone() is not None
connection.close()
sys.exit(0 if beats else f"{sys.argv[1]} has shown no sign of life for 90 seconds")
