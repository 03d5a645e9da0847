# A private Postgres for development: one cluster, on a Unix socket only. Sourced after lib.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # DEV comes from lib.sh

# Postgres refuses to run as root; it then runs as the user that its Debian package made.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

# The folder of the database and of all sockets, in PLACE: $DEV, unless user postgres may not go there
# or its path is too long for a socket; then a folder under /var/tmp, whose name $DEV keeps.
find_place() {
    PLACE=$DEV
    if [ -s "$DEV/place" ]; then
        PLACE=$(<"$DEV/place")
    elif [ ${#DEV} -gt 80 ] || ! as_postgres test -x "$DEV"; then
        PLACE=$(mktemp -d /var/tmp/hsmd-dev.XXXXXX)
        chmod 711 "$PLACE"
        echo "$PLACE" >"$DEV/place"
    fi
    PGDATA=$PLACE/postgres
    RUN=$PLACE/run
}

psql_dev() { as_postgres "$(postgres_bin)/psql" -XAqt -v ON_ERROR_STOP=1 -h "$RUN" -d "$@"; }

# Whether it answers. pg_ctl's status would count one that was killed and has not quite gone.
postgres_running() { "$(postgres_bin)/pg_isready" -q -h "$RUN"; }

# One that was killed keeps its place for a moment, so a start may have to be tried again. Whoever may
# open the socket is trusted, so nobody but its owner (and root) may.
postgres_started() {
    postgres_running || as_postgres "$(postgres_bin)/pg_ctl" -D "$PGDATA" -w -s -l "$PGDATA/log" -o \
        "-c listen_addresses='' -c unix_socket_directories='$RUN' -c unix_socket_permissions=0700" start
}

postgres_up() {
    local bin
    bin=$(postgres_bin)
    mkdir -p "$RUN"
    # Only a finished cluster gets the name: an interrupted initdb is made anew.
    if [ ! -d "$PGDATA" ]; then
        rm -rf "$PGDATA.new"
        mkdir -m 700 "$PGDATA.new"
        [ "$(id -u)" != 0 ] || chown postgres: "$PGDATA.new" "$RUN"
        as_postgres "$bin/initdb" -D "$PGDATA.new" --auth=trust --encoding=UTF8 --locale=C \
            --no-instructions >/dev/null
        mv "$PGDATA.new" "$PGDATA"
    fi
    wait_for 30 postgres_started || { tail -n 20 "$PGDATA/log" >&2 && die "postgres does not start"; }
    database_up hsmd hsmd_owner hsmd_writer
}

# database_up NAME OWNER ROLE…: a database and its roles, unless they are there.
database_up() {
    local role
    for role in "${@:2}"; do
        [ -n "$(psql_dev postgres -c "SELECT 1 FROM pg_roles WHERE rolname = '$role'")" ] ||
            psql_dev postgres -c "CREATE ROLE $role LOGIN"
    done
    [ -n "$(psql_dev postgres -c "SELECT 1 FROM pg_database WHERE datname = '$1'")" ] ||
        psql_dev postgres -c "CREATE DATABASE $1 OWNER $2"
}

postgres_down() {
    ! postgres_running || as_postgres "$(postgres_bin)/pg_ctl" -D "$PGDATA" -w -s -m fast stop
}
