# hsmctl, redis-cli and kubectl as each target reaches them. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # names in capitals come from, or are for, the other files
NAMESPACE=${HSMD_NAMESPACE:-hsmd}
# shellcheck disable=SC2016 # expanded there
REDIS_IN_POD='REDISCLI_AUTH=$(cat /run/secrets/redis/password) exec redis-cli "$@"'

kube() { ask "${LIMIT:-30}" kubectl --namespace "$NAMESPACE" "$@"; }

ctl() {
    case $WHERE in
    dev) ask 30 hsmctl "$@" ;;
    systemd) ask 30 hsmctl --endpoint unix:///run/hsmd/service.sock \
        --admin-endpoint unix:///run/hsmd/admin.sock "$@" ;;
    k8s) kube exec deployment/hsmd -- hsmctl "$@" ;;
    esac
}

# member NAME: the first value of that name in the JSON on standard input.
member() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# Ends before anything is done unless hsmd says that it can sign.
signing() {
    local state
    state=$(ctl --output json status | member state) || true
    [ -n "$DRY" ] || case $state in
    serving | degraded) ;;
    '') die "hsmd does not answer, so new keys could not be endorsed" ;;
    *) die "hsmd is $state, so new keys could not be endorsed" ;;
    esac
}

# The head's id, to be named in what replaces it: a repetition must not replace the next one.
head_id() {
    local id
    # The log goes before the status: the daemon has both, and this is the public one.
    id=$(ctl --output json status | grep -o '"head":{[^}]*' | member id) || true
    [ -n "$DRY" ] || [ -n "$id" ] || die "hsmd does not answer or does not know its head: see hsmctl status"
    echo "${id:-HEAD}"
}

# change rotate|taint: replaces the generation EXPECTED, once, and leaves the new head's id in HEAD.
change() {
    local answer
    answer=$(ctl --output json "$1" --expected "$EXPECTED" --reason "$REASON") || die "hsmctl $1 failed: see above"
    [ -z "$DRY" ] || return 0
    HEAD=$(member id <<<"$answer")
    [ -n "$HEAD" ] || die "hsmctl $1 did not name the new event: $answer"
    # The event's text stands in the answer as a string.
    say "generation $HEAD signs now, its public key is $(grep -o 'publicKey\\":\\"[^\\]*' <<<"$answer" | cut -d '"' -f 3)"
    [[ $answer == *'"performed":true'* ]] || say "this had been done before; nothing was replaced now"
}

# The endorsed keys are in Redis 0 (access) and 1 (response).
# HSMD_REDIS_CLI is a command that reaches it where this does not, like "redis-cli -h redis --user ops";
# redis-cli takes a password from REDISCLI_AUTH. A refusal by Redis is a failure, too (-e).
redis() {
    local url cli
    read -ra cli <<<"${HSMD_REDIS_CLI-}"
    if [ ${#cli[@]} -gt 0 ]; then ask 10 "${cli[@]}" "$@" && return; fi
    case $WHERE in
    dev) ask 10 redis-cli -e -s "$RUN/redis.sock" "$@" ;;
    systemd)
        url=$(setting url app unix:///run/redis/redis.sock)
        if [[ $url == unix://* ]]; then ask 10 redis-cli -e -s "${url#unix://}" "$@"; else ask 10 redis-cli -e -u "$url" "$@"; fi
        ;;
    # The pod knows its password.
    k8s) kube exec deployment/redis -- sh -c "$REDIS_IN_POD" redis-cli -e "$@" ;;
    esac
}

# setting KEY SERVICE DEFAULT: what a unit's configuration says.
setting() {
    local value
    value=$(sed -n "s|^$1 *= *\"\(.*\)\".*|\1|p" "/etc/hsmd/$2.toml" 2>/dev/null | head -n 1)
    echo "${value:-$3}"
}
