#!/bin/sh
# Run once by the postgres image, in a fresh database: the roles and databases of hsmd, auth and accounts.
set -eu
password() { cat "/run/secrets/postgres/$1"; }

psql --quiet --username postgres --set ON_ERROR_STOP=1 <<SQL
CREATE ROLE hsmd_owner LOGIN PASSWORD '$(password hsmd_owner)';
CREATE ROLE hsmd LOGIN PASSWORD '$(password hsmd)';
CREATE ROLE auth LOGIN PASSWORD '$(password auth)';
CREATE ROLE accounts LOGIN PASSWORD '$(password accounts)';
CREATE DATABASE hsmd OWNER hsmd_owner;
CREATE DATABASE auth OWNER auth;
CREATE DATABASE accounts OWNER accounts;
SQL
