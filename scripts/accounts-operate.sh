# What the operator's scripts do with the accounts service and its keys. Sourced by target.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # the names in capitals come from the files before

# Whether it is part of this installation, running or not. What can't be asked counts as there: it fails at
# its step.
has_accounts() {
    local name
    case $WHERE in
    dev) [ -e "$DEV/accounts-1.toml" ] ;;
    # A unit that was stopped and disabled in an incident still has sessions and keys.
    systemd) [ -e /etc/hsmd/accounts.toml ] || [[ " ${SERVICES[*]} " == *' accounts '* ]] ;;
    k8s)
        name=$(kube get deployment/accounts --ignore-not-found --output name) || return 0
        [ -n "$DRY$name" ]
        ;;
    esac
}

# accounts COMMAND…: one of hsmd-accounts' commands that need its database only.
accounts() {
    case $WHERE in
    dev) ask 30 hsmd-accounts --config "$DEV/accounts-1.toml" "$@" ;;
    systemd) FOREGROUND='' ask 60 hsmd-as-service --service accounts "$@" ;;
    k8s) kube exec deployment/accounts -- hsmd-accounts --config /etc/hsmd/accounts.toml "$@" ;;
    esac
}

# All keys that have ever signed are dead for ever, those of processes that are gone included: their keys
# would be listed until their last token has expired. Each replica makes another one by itself.
withdraw_accounts() { accounts withdraw --all >/dev/null || die "the accounts' signing keys are not withdrawn"; }

end_accounts_sessions() { accounts end-sessions >/dev/null || die "the accounts' sessions are not ended"; }

# Each waits until verifiers know its new key, while the other signs.
roll_accounts() {
    local name
    for name in "${ACCOUNTS[@]}"; do
        act process_stop "$name" && act service_start "$name"
        [ -n "$DRY" ] || wait_for 120 service_ready "$name" || die "$name is not ready two minutes after its restart: see $DEV/$name.log"
    done
}
