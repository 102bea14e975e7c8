-- Run once, when the data folder is made; the database `airflow` is there already.
CREATE DATABASE mir;
CREATE DATABASE labelstudio;
