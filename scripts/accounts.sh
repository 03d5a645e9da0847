# The accounts service of a development installation: two replicas on one database, with mails in a file
# and both header secrets. Sourced after fleet.sh.
# shellcheck shell=bash
# shellcheck disable=SC2153 # DEV, BIN and RUN come from the files before

ACCOUNTS=(accounts-1 accounts-2)

# A trusted page that is not the service.
ACCOUNTS_ORIGIN=http://localhost:3000

# A subshell for its umask. A secret is made once.
accounts_secrets() (
    umask 077
    local name
    for name in gateway service; do
        [ -s "$DEV/accounts-$name.secrets" ] ||
            od -An -N32 -tx1 /dev/urandom | tr -d ' \n' | put "$DEV/accounts-$name.secrets"
    done
    echo "postgresql://hsmd_accounts@/accounts?host=$RUN" | put "$DEV/accounts-database.url"
)

# accounts_config NAME: what its example says, for this installation. Both replicas are one site, whose
# address is the first one's.
accounts_config() {
    local rate='{ max = 1000, window = "1m" }'
    cat <<END
[http]
listen = "127.0.0.1:$(port "$1")"

[site]
public_url = "$(url "${ACCOUNTS[0]}")"
trusted_origins = ["$ACCOUNTS_ORIGIN", "$(url "${ACCOUNTS[1]}")"]

[hsm]
identity = "$(<"$DEV/identity")"
endpoint = "https://127.0.0.1:$(port hsmd)"
log_file = "$DEV/$1-log.json"
batch = true

[hsm.tls]
ca_file = "$DEV/tls/ca.pem"
certificate_file = "$DEV/tls/accounts.pem"
key_file = "$DEV/tls/accounts.key"
server_name = "localhost"

[database]
url_file = "$DEV/accounts-database.url"

[users]
change_email = true

[limits]
path = $rate
sign_in = $rate
mail = $rate
attempts = 1000
mails_per_hour = 1000

[mail]
outbox = "$DEV/accounts-outbox.jsonl"

[internal]
gateway_secrets_file = "$DEV/accounts-gateway.secrets"
service_secrets_file = "$DEV/accounts-service.secrets"
END
}

# To be sourced with the rest of what runs.
accounts_env() {
    cat <<END
export HSMD_ACCOUNTS_URL=$(url accounts-1)
export HSMD_ACCOUNTS_2_URL=$(url accounts-2)
export HSMD_ACCOUNTS_OUTBOX=$DEV/accounts-outbox.jsonl
export HSMD_ACCOUNTS_ORIGIN=$ACCOUNTS_ORIGIN
export HSMD_ACCOUNTS_GATEWAY_SECRET_FILE=$DEV/accounts-gateway.secrets
export HSMD_ACCOUNTS_SERVICE_SECRET_FILE=$DEV/accounts-service.secrets
END
}

# A new key signs only when verifiers have had a minute to learn it, unless it is alone.
accounts_up() {
    local name
    database_up accounts hsmd_accounts
    accounts_secrets
    [ -e "$DEV/accounts-outbox.jsonl" ] || (umask 077 && : >"$DEV/accounts-outbox.jsonl")
    for name in "${ACCOUNTS[@]}"; do
        (umask 077 && accounts_config "$name" | put "$DEV/$name.toml")
        process_current "$name" "$BIN/hsmd-accounts" || { process_stop "$name" && service_start "$name"; }
    done
    for name in "${ACCOUNTS[@]}"; do wait_for 90 service_ready "$name" || process_failed "$name"; done
}

accounts_down() {
    local name
    for name in "${ACCOUNTS[@]}"; do process_stop "$name"; done
}
