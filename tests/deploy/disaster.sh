# Run in the container: docs/disaster-recovery.md as it stands, on databases that are lost and older; and a
# refused reload. /work/lost.sh and /work/older.sh are the document's blocks.
# shellcheck shell=bash
set -Eeuo pipefail
trap 'echo "disaster.sh, line $LINENO: $BASH_COMMAND" >&2; journalctl --no-pager -n 30 >&2' ERR

# The document says what stands for what.
hsmd() { hsmd-as-service "$@"; }
export -f hsmd

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

# A file that hsmd refuses fails the reload, and Status says so.
cp /etc/hsmd/hsmd.toml good.toml
echo 'unknown = 1' >>/etc/hsmd/hsmd.toml
refused systemctl reload hsmd.service
(hsmctl status || true) | grep -q 'the reload was refused'
cp good.toml /etc/hsmd/hsmd.toml
systemctl reload hsmd.service
serving

for name in keys auth app accounts; do hsmd-as-service --service $name check; done
