# Run in the container: docs/operations.md, section 13, as it stands: every certificate and the authority are renewed,
# and no program restarts. /work/renew.sh is the document's blocks.
# shellcheck shell=bash
set -Eeuo pipefail
trap 'echo "certificates.sh, line $LINENO: $BASH_COMMAND" >&2; journalctl --no-pager -n 30 >&2' ERR

UNITS=(hsmd hsmd-keys hsmd-auth hsmd-app hsmd-accounts)
PORTS=(8010 8011 8020 8031)

pids() { for unit in "${UNITS[@]}"; do systemctl show --property=MainPID --value "$unit.service"; done; }

# The certificates that are installed, and the one that hsmd shows; without one of our own it ends the connection.
installed() { for folder in /etc/hsmd/*tls; do openssl x509 -noout -serial -in "$folder/tls.crt"; done; }
shown() { { openssl s_client -connect 127.0.0.1:11111 </dev/null 2>/dev/null || true; } | openssl x509 -noout -serial; }

ask() { exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3 && cat <&3; }
ready() { for port in "${PORTS[@]}"; do (ask "$port" /ready) | grep -q '^HTTP/1.. 200' || return 1; done; }

wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

# The log, by the certificates in this folder.
log() {
    hsmctl log --endpoint https://127.0.0.1:11111 --server-name localhost --ca-file /etc/hsmd/keys-tls/ca.crt \
        --cert-file "$1/tls.crt" --key-file "$1/tls.key" >/dev/null
}

wait_for 60 ready
before=$(installed)
processes=$(pids)
shows=$(shown)
cp -a /etc/hsmd/keys-tls /root/old-tls
log /root/old-tls
bash /work/renew.sh

# Not one of the old certificates is left, and hsmd shows its new one.
after=$(installed)
[ "$(wc -l <<<"$after")" = ${#UNITS[@]} ]
[ -z "$(printf '%s\n' "$before" "$after" | sort | uniq --repeated)" ]
is_new() { [ "$(shown)" != "$shows" ] && grep -qx "$(shown)" <<<"$after"; }
wait_for 30 is_new

# What the old authority has issued is refused, its connections were closed, and every service is back.
is_refused() { ! log /root/old-tls 2>/dev/null; }
wait_for 30 is_refused
log /etc/hsmd/keys-tls
wait_for 60 ready
for name in keys auth app accounts; do hsmd-as-service --service $name check; done

# A rotation reaches them over the new connections: keys follows it, auth and app have keys endorsed by it.
hsmctl rotate --reason "after the renewal" >/dev/null
head=$(hsmctl log --json | grep -o '"id":"E[^"]*' | tail -n 1 | cut -d '"' -f 4)
follow() { for port in 8010 8011 8020; do (ask "$port" /health) | grep -q "Id\":\"$head\"" || return 1; done; }
wait_for 60 follow
wait_for 60 ready
[ "$(pids)" = "$processes" ]
