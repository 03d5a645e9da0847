# Run in the container after docs/operations.md: is what runs what the units promise?
# shellcheck shell=bash
set -Eeuo pipefail
trap 'echo "look.sh, line $LINENO: $BASH_COMMAND" >&2' ERR

same() { [ "$1" = "$2" ] || { echo "$3: $1 instead of $2" >&2 && exit 1; }; }

# A process that is not dumpable belongs to root in /proc, whoever it runs as.
user() { id -nu "$(awk '/^Uid:/ {print $2}' "/proc/$1/status")"; }

pid() { systemctl show --property=MainPID --value "$1"; }

serving() { timeout 30 sh -c 'until hsmctl status >/dev/null; do sleep 0.2; done'; }

main=$(pid hsmd.service)
same "$(user "$main")" hsmd "the daemon's user"
same "$(readlink "/proc/$main/exe")" /usr/bin/hsmd "the daemon's program"
same "$(awk '/^CapEff/ {print $2}' "/proc/$main/status")" 0000000000000000 "capabilities"
same "$(awk '/^Seccomp:/ {print $2}' "/proc/$main/status")" 2 "seccomp"
same "$(stat -c '%U %a' /run/hsmd/service.sock)" "hsmd 666" "service socket"
same "$(stat -c '%U %a' /run/hsmd/admin.sock)" "hsmd 600" "admin socket"
same "$(stat -c '%U %a' /var/lib/hsmd)" "hsmd 700" "state folder"

# A stranger reaches the socket and is refused by name; the services are known by their certificates, which no
# other user can read.
stranger=$(runuser -u games -- hsmctl log 2>&1 >/dev/null || true)
[[ $stranger == *CALLER_UNKNOWN* ]]
as() {
    runuser -u "$1" -- hsmctl log --endpoint https://127.0.0.1:11111 --server-name localhost --ca-file "$2/ca.crt" \
        --cert-file "$2/tls.crt" --key-file "$2/tls.key" >/dev/null
}
for name in keys auth app accounts; do
    as "hsmd-$name" "/etc/hsmd/$name-tls"
    if as games "/etc/hsmd/$name-tls" 2>/dev/null; then exit 1; fi
done

# No PIN in the journal, in the environment or in the arguments.
pin=$(cat /etc/hsmd/credentials/pin)
leaks() { grep --quiet --text --fixed-strings "$pin" "$@" && echo "the PIN is in $*" >&2; }
journalctl --no-pager >/tmp/journal
if leaks /tmp/journal || leaks "/proc/$main/environ" || leaks "/proc/$main/cmdline"; then exit 1; fi

# Killed, it comes back by itself, on the same sockets, with the same history.
before=$(hsmctl --output json log | sha256sum)
kill -KILL "$main"
serving
[ "$(pid hsmd.service)" != "$main" ]
same "$(hsmctl --output json log | sha256sum)" "$before" "the log after a kill"

# The watchdog is on, and is fed: nothing was restarted by it.
same "$(systemctl show --property=WatchdogUSec --value hsmd.service)" 30s "watchdog"
if journalctl --no-pager --unit hsmd.service | grep -qi 'watchdog timeout'; then exit 1; fi

# The score of what runs, drop-in included.
systemd-analyze security --no-pager --threshold=15 hsmd.service >/dev/null

# The keys service as its unit runs it, and a rolling restart that waits for readiness.
systemctl --quiet is-active hsmd-keys.service hsmd-auth.service hsmd-app.service hsmd-accounts.service
first=$(pid hsmd-keys.service)
/usr/lib/hsmd/rolling-restart hsmd-keys.service hsmd-app.service
[ "$(pid hsmd-keys.service)" != "$first" ]
same "$(user "$(pid hsmd-keys.service)")" hsmd-keys "the keys service's user"
systemctl start hsmd-rolling-restart.service

# A reload reaches the daemon.
systemctl reload hsmd.service
timeout 30 sh -c 'until journalctl --no-pager --unit hsmd.service | grep -q "the policy is reloaded"; do sleep 0.2; done'

# A configuration that it refuses ends it, and no call to its sockets starts it again.
cp /etc/hsmd/hsmd.toml /root/good.toml
echo 'unknown = 1' >>/etc/hsmd/hsmd.toml
systemctl restart hsmd.service || true
timeout 60 sh -c 'until systemctl --quiet is-failed hsmd.service; do sleep 0.5; done'
timeout 30 sh -c 'while systemctl --quiet is-active hsmd.socket; do sleep 0.2; done'
ended=$(systemctl show --property=ExecMainExitTimestampMonotonic --value hsmd.service)
sleep 5
same "$(systemctl show --property=ExecMainExitTimestampMonotonic --value hsmd.service)" "$ended" "when it ended"
cp /root/good.toml /etc/hsmd/hsmd.toml
systemctl start hsmd.service
serving

# Encrypted credentials, in a drop-in that resets what the unit loads; the plain files go away, and nothing
# of root's reaches the command.
systemd-creds encrypt --name=pin /etc/hsmd/credentials/pin /etc/hsmd/credentials/pin.cred
cat >/etc/systemd/system/hsmd.service.d/encrypted.conf <<'DROPIN'
[Service]
LoadCredential=
LoadCredentialEncrypted=pin:/etc/hsmd/credentials/pin.cred
LoadCredential=database-writer.url:/etc/hsmd/credentials/moved.url
DROPIN
mv /etc/hsmd/credentials/pin /root/plain-pin
mv /etc/hsmd/credentials/database-writer.url /etc/hsmd/credentials/moved.url
echo '*:*:*:*:wrong' >/root/.pgpass
chmod 0600 /root/.pgpass
systemctl daemon-reload
PGUSER=nobody hsmd-as-service check
systemctl restart hsmd.service
serving
mv /root/plain-pin /etc/hsmd/credentials/pin

# The operator's scripts, as the package installs them: a routine, new keys for all, both red buttons.
taints() { hsmctl --output json log | { grep -o '"taintPrevious":true' || true; } | wc -l; }
before=$(taints)
/usr/lib/hsmd/rotate-hsm-key
/usr/lib/hsmd/purge-keys-and-roll-services --yes
same "$(taints)" "$before" "taints by a rotation and a purge"
/usr/lib/hsmd/red-button --yes
/usr/lib/hsmd/red-button --yes --end-sessions
same "$(taints)" $((before + 2)) "taints by the red buttons"

# Removed, it is gone, and what must outlive it is still there.
apt-get --quiet --yes remove hsmd
[ ! -e /usr/bin/hsmd ] && [ -e /var/lib/hsmd ] && [ -e /etc/hsmd/credentials/pin ]
