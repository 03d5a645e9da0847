# hsmctl, redis-cli and kubectl as each target reaches them. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153 # names in capitals come from, or are for, the other files
NAMESPACE=${HSMD_NAMESPACE:-hsmd}

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
redis() {
    local url
    case $WHERE in
    dev) act redis-cli -s "$RUN/redis.sock" "$@" ;;
    systemd)
        url=$(setting url app unix:///run/redis/redis.sock)
        if [[ $url == unix://* ]]; then act redis-cli -s "${url#unix://}" "$@"; else act redis-cli -u "$url" "$@"; fi
        ;;
    k8s) kube exec deployment/redis -- redis-cli "$@" ;;
    esac
}

# setting KEY SERVICE DEFAULT: what a unit's configuration says.
setting() {
    local value
    value=$(sed -n "s|^$1 *= *\"\(.*\)\".*|\1|p" "/etc/hsmd/$2.toml" 2>/dev/null | head -n 1)
    echo "${value:-$3}"
}
