# Run in the container: docs/disaster-recovery.md as it stands, on databases and state folders that are lost and
# older, and with another token; section 7 of docs/operations.md likewise; and a refused reload.
# /work/section-N.sh and /work/restore-N.sh are the documents' blocks.
# shellcheck shell=bash
set -Eeuo pipefail
trap 'echo "disaster.sh, line $LINENO: $BASH_COMMAND" >&2; journalctl --no-pager -n 30 >&2' ERR

refused() { if "$@"; then echo "not refused: $*" >&2 && exit 1; fi; }

serving() { timeout 30 sh -c 'until hsmctl status >/dev/null; do sleep 0.2; done'; }

head_number() { hsmctl --output json identity | grep -o '"sequenceNumber":[0-9]*'; }

cd /var/backups
umask 022
backup() { runuser -u postgres -- pg_dump hsmd >"$1"; }
stop() { systemctl stop hsmd.socket hsmd-admin.socket hsmd.service; }
# restore [FILE]: the database as it was then, or an empty one.
restore() {
    runuser -u postgres -- dropdb --force hsmd
    runuser -u postgres -- createdb --owner=hsmd_owner hsmd
    [ -z "${1-}" ] || runuser -u postgres -- psql --quiet hsmd <"$1" >/dev/null
}
# What the daemon keeps itself; the software token lies beside it.
lose_state() {
    find /var/lib/hsmd -mindepth 1 -maxdepth 1 ! -name softhsm -exec rm -r {} +
}

before=$(head_number)
backup old.sql
# One event more would still be in the journal, and a start appends that by itself.
for number in one two; do hsmctl rotate --reason "the backup lacks event $number" >/dev/null; done
hsmctl log --json >copy.json
after=$(head_number)
[ "$before" != "$after" ]

# An older backup comes back: the daemon appends what it knows itself.
stop
restore old.sql
systemctl start hsmd.service
serving
[ "$(head_number)" = "$after" ]

# The same without what it keeps: it refuses to start, and ends without a loop.
stop
restore old.sql
lose_state
systemctl start hsmd.service || true
timeout 60 sh -c 'until systemctl --quiet is-failed hsmd.service; do sleep 0.5; done'
[ "$(systemctl show --property=ExecMainStatus --value hsmd.service)" = 65 ]
# Neither systemd nor the services, which go on calling, start it again.
ended=$(systemctl show --property=ExecMainExitTimestampMonotonic --value hsmd.service)
timeout 30 sh -c 'while systemctl --quiet is-active hsmd.socket; do sleep 0.2; done'
sleep 5
[ "$(systemctl show --property=ExecMainExitTimestampMonotonic --value hsmd.service)" = "$ended" ]
stop
refused hsmd-as-service check
bash /work/section-2.sh
serving
[ "$(head_number)" = "$after" ]

# The database is lost.
stop
restore
bash /work/section-1.1.sh
serving
[ "$(head_number)" = "$after" ]

# And with it what the daemon keeps.
stop
restore
lose_state
bash /work/section-1.2.sh
serving
[ "$(head_number)" = "$after" ]

# An older backup does not name the claim that was made just now.
stop
restore old.sql
lose_state
refused bash /work/section-2.sh
(hsmd-as-service check || true) | grep -q 'owned by another state folder: section 9'
bash /work/section-9.sh
serving
[ "$(head_number)" = "$after" ]

# The same by docs/operations.md: in the older database, which keeps its records, and in a new one.
cp copy.json hsmd-log.json
for block in 7.1 7.2; do
    stop
    restore old.sql
    lose_state
    bash /work/restore-$block.sh
    bash /work/restore-7.3.sh
    [ "$(head_number)" = "$after" ]
    if [ $block = 7.1 ]; then hsmctl audit | grep 'to the new HSM' >/dev/null; fi
done

# Another token takes the place of this one.
hsmd-softhsm provision --dir /var/lib/hsmd/softhsm --label hsmd-third --pin-file /etc/hsmd/credentials/pin
chown -R hsmd: /var/lib/hsmd/softhsm
cat >>/etc/hsmd/hsmd.toml <<'TOKEN'

[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "hsmd-third"
pin_file = "/run/credentials/hsmd.service/pin"
TOKEN
bash /work/section-7.1.sh
cp /etc/hsmd/hsmd.toml both.toml
sed 's/^label = "hsmd-new"$/label = "hsmd-third"/' both.toml | head -n -5 >/etc/hsmd/hsmd.toml
bash /work/section-7.2.sh
serving

# A new identity: the services follow it, whatever they have kept of the one before.
identity() { hsmctl --output json identity | grep -o '"identity":"E[^"]*'; }
ready() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /ready HTTP/1.0\r\n\r\n' >&3 && cat <&3) | grep '^HTTP/1.. 200' >/dev/null; }
former=$(identity)
stop
sed -i -e '/^identity = /d' -e 's/^schema = .*/schema = "hsmd_two"/' -e '/^label = /a key_label = "hsmd-two"' /etc/hsmd/hsmd.toml
bash /work/section-5.sh
serving
[ "$(identity)" != "$former" ]
mapfile -t ports < <(sed -nE 's/^listen = "127.0.0.1:([0-9]+)"$/\1/p' /etc/hsmd/{keys,auth,app,accounts}.toml)
[ ${#ports[@]} = 4 ]
for port in "${ports[@]}"; do
    end=$((SECONDS + 120))
    until ready "$port"; do [ $SECONDS -lt $end ] && sleep 0.5; done
done

# A file that hsmd refuses fails the reload, and Status says so.
cp /etc/hsmd/hsmd.toml good.toml
echo 'unknown = 1' >>/etc/hsmd/hsmd.toml
refused systemctl reload hsmd.service
(hsmctl status || true) | grep -q 'the reload was refused'
cp good.toml /etc/hsmd/hsmd.toml
systemctl reload hsmd.service
serving

for name in keys auth app accounts; do hsmd-as-service --service $name check; done
