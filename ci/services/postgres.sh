#!/bin/sh
# What the entrypoint of the official image does that docker-compose.yaml relies on: a new cluster with one user and one
# database, its password from a file, connections from the network by that password.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # several words
  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 --locale=C.UTF-8 \
    ${POSTGRES_INITDB_ARGS:-} >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait --silent --options="-c listen_addresses=''" start
  PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") createdb --username="$POSTGRES_USER" "$POSTGRES_DB" || true
  pg_ctl --wait --silent --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
