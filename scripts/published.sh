# The keys that services publish in Redis 0 (access) and 1 (response). Sourced by purge and red button.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before

# How often a key that is published again is removed again: a process publishes its key within a second.
ROUNDS=${HSMD_PURGE_ROUNDS:-8}

# list_published: the keys of both, in ACCESS and RESPONSE. Ends the script when they can't be listed.
list_published() {
    local list
    list=$(published 0) || redis_failed "Redis 0 can't be listed"
    mapfile -t ACCESS <<<"$list"
    list=$(published 1) || redis_failed "Redis 1 can't be listed"
    mapfile -t RESPONSE <<<"$list"
}

published() {
    # What is tested with || runs without errexit: a failure has to be handed on.
    redis -n "$1" --scan --pattern '1AAI*' || return
    [ -z "$DRY" ] || echo KEYS
}

# First the listed ones, of which none may come back, then all: a process may have published a key after the list
# was made and before its restart. The keys that the services have now come back: they publish them again.
remove_published() { remove 0 "${ACCESS[@]}" && remove 1 "${RESPONSE[@]}" && flush_published; }

# remove DATABASE KEY…: until none has come back.
remove() {
    local removed round database=$1
    shift
    [ -n "${1-}" ] || return 0
    for ((round = 0; round < ROUNDS; round++)); do
        removed=$(redis -n "$database" del "$@") || redis_failed "Redis $database is not purged"
        [ -z "$DRY" ] || return 0
        [[ $removed =~ ^[0-9]+$ ]] || die "Redis $database is not purged: $removed"
        [ "$removed" != 0 ] || return 0
        sleep 1.5
    done
    name_publishers "$database" "$@"
    die "keys that were removed are published again: stop their publisher, then run this once more"
}

# Who publishes what these scripts do not restart: the key, what it is for, and who is connected.
name_publishers() {
    local database=$1 key text
    shift
    for key in "$@"; do
        text=$(redis -n "$database" get "$key") || true
        [ -z "$text" ] || say "Redis $database: $key, purpose $(member purpose <<<"$text"), is published by a process that was not restarted"
    done
    say "connected to Redis, by address: $(redis client list | grep -o ' addr=[^ ]*' | sort | uniq -c | tr -s ' \n' ' ' || true)"
}

# Forgets every published key: who is asked for one says that it has none, until it is published anew.
flush_published() {
    local database answer
    for database in 0 1; do
        answer=$(redis -n $database flushdb) || redis_failed "Redis $database is not purged${answer:+: $answer}"
        [ "$answer" = OK ] || [ -n "$DRY" ] || die "Redis $database is not purged: $answer"
    done
}
