# hsmctl, redis-cli and kubectl as each target reaches them. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # names in capitals come from, or are for, the other files
NAMESPACE=${HSMD_NAMESPACE:-hsmd}
# shellcheck disable=SC2016 # expanded there
REDIS_IN_POD='REDISCLI_AUTH=$(cat /run/secrets/redis/password) exec redis-cli "$@"'

kube() { act kubectl --namespace "$NAMESPACE" "$@"; }

ctl() {
    case $WHERE in
    dev) act hsmctl "$@" ;;
    systemd) act hsmctl --endpoint unix:///run/hsmd/service.sock \
        --admin-endpoint unix:///run/hsmd/admin.sock "$@" ;;
    k8s) kube exec deployment/hsmd -- hsmctl "$@" ;;
    esac
}

# change rotate|taint: does it and leaves the new head's id in HEAD.
change() {
    HEAD=$(ctl --output json "$1" --reason "$REASON" | grep -o '"id":"E[^"]*"' | cut -d '"' -f 4) ||
        [ -n "$DRY" ] || die "not done: see above"
}

# The endorsed keys are in Redis 0 (access) and 1 (response).
# HSMD_REDIS_CLI is a command that reaches it where this does not, like "redis-cli -h redis --user ops";
# redis-cli takes a password from REDISCLI_AUTH.
redis() {
    local url cli
    read -ra cli <<<"${HSMD_REDIS_CLI-}"
    if [ ${#cli[@]} -gt 0 ]; then act "${cli[@]}" "$@" && return; fi
    case $WHERE in
    dev) act redis-cli -s "$RUN/redis.sock" "$@" ;;
    systemd)
        url=$(setting url app unix:///run/redis/redis.sock)
        if [[ $url == unix://* ]]; then act redis-cli -s "${url#unix://}" "$@"; else act redis-cli -u "$url" "$@"; fi
        ;;
    # The pod knows its password.
    k8s) kube exec deployment/redis -- sh -c "$REDIS_IN_POD" redis-cli "$@" ;;
    esac
}

# setting KEY SERVICE DEFAULT: what a unit's configuration says.
setting() {
    local value
    value=$(sed -n "s|^$1 *= *\"\(.*\)\".*|\1|p" "/etc/hsmd/$2.toml" 2>/dev/null | head -n 1)
    echo "${value:-$3}"
}
