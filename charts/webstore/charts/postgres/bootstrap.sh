#!/bin/bash
# Runs at every start, beside the server: makes what is missing (a role and a database for each service), and gives every role
# the password of the mounted Secret, so that a new Secret takes. It may be cut off and run again at any point.
set -euo pipefail
credentials=${CREDENTIALS:-/etc/webstore/credentials}
attempts=${ATTEMPTS:-600} # a second apart
export PGHOST=${PGHOST:-/var/run/postgresql} PGUSER=postgres PGDATABASE=postgres

bootstrap() {
  {
    # A statement that fails is not to be logged with a password in it.
    echo "SET log_min_error_statement = panic;"
    echo "\\set password \`cat $credentials/postgres-password\`"
    echo "ALTER ROLE postgres PASSWORD :'password';"
    for service in customer product order shopping-command shopping-query; do
      echo "\\set name ${service//-/_}"
      echo "\\set password \`cat $credentials/$service-password\`"
      cat <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
    done
  } | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1
}

# The server may still make its files, or replay its log after a crash.
for _ in $(seq "$attempts"); do
  if pg_isready --quiet && reason=$(bootstrap 2>&1); then exit 0; fi
  sleep 1
done
echo "the roles and databases of the store could not be made in $attempts attempts: ${reason:-the server does not answer}" >&2
exit 1
