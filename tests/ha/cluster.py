"""etcd, two members of Patroni with streaming replication, and HAProxy before them, in one folder."""

import json
import os
import pathlib
import re
import subprocess
import urllib.request

from processes import POSTGRES, ROOT, Process, free_ports, kill_family, until

SCOPE = "hsmd"
# The smallest that Patroni takes, so that a play does not last long.
TIMES = {"ttl": 20, "loop_wait": 2, "retry_timeout": 3}
DOCUMENT = ROOT / "docs/high-availability.md"


def programs():
    """The folder of the newest Postgres's programs, as Debian lays them out."""
    versions = pathlib.Path("/usr/lib/postgresql").iterdir()
    return max(versions, key=lambda path: float(path.name)) / "bin"


class Member:
    """One Patroni with its Postgres."""

    def __init__(self, name, folder, etcd, synchronous, start_timeout):
        self.name, self.folder = name, folder
        self.port, self.rest_port = free_ports(2)
        self.data, self.configuration = folder / f"{name}-data", folder / f"{name}.json"
        self.log, self.patroni = folder / f"{name}-patroni.log", None
        rest, server = f"127.0.0.1:{self.rest_port}", f"127.0.0.1:{self.port}"
        everybody = "all all 127.0.0.1/32 trust"
        self.configuration.write_text(json.dumps({
            "scope": SCOPE, "name": name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": TIMES | {
                    "synchronous_mode": synchronous, "primary_start_timeout": start_timeout,
                    "postgresql": {"use_pg_rewind": True},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}],
            },
            "postgresql": {
                "listen": server, "connect_address": server, "bin_dir": str(programs()),
                "data_dir": str(self.data), "pgpass": str(folder / f"{name}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres"}, "replication": {"username": "replicator"},
                },
                "pg_hba": [f"host {everybody}", "host replication replicator 127.0.0.1/32 trust"],
                "parameters": {"unix_socket_directories": "", "shared_buffers": "32MB"},
            },
        }))  # fmt: skip

    def start(self):
        self.patroni = Process(self.log, "patroni", self.configuration, env=environment(), **POSTGRES)

    def stop(self):
        """Patroni stops its Postgres, too; one that Patroni has left is stopped here."""
        self.patroni.stop()
        if pid := self.postmaster():
            kill_family(pid)

    def postmaster(self):
        """The process id of its Postgres; None if there is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, IndexError):
            return None
        return pid if str(self.data).encode() in command else None

    def kill_postgres(self):
        kill_family(self.postmaster())

    def sql(self, query, database="postgres"):
        """What a superuser's query gives; None if the server does not answer."""
        done = subprocess.run(
            [programs() / "psql", "-XAqt", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres",
             "-d", database, "-v", "ON_ERROR_STOP=1", "-c", query],
            env=environment() | {"PGCONNECT_TIMEOUT": "5"}, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else None

    def takes_writes(self):
        return self.sql("SELECT pg_is_in_recovery()") == "f"

    def is_leader(self):
        return self.has_role("primary")

    def has_role(self, role):
        """What Patroni says when HAProxy asks it: "primary", "replica" or "synchronous"."""
        try:
            url = f"http://127.0.0.1:{self.rest_port}/{role}"
            return urllib.request.urlopen(url, timeout=5).status == 200
        except OSError:
            return False


class Cluster:
    """All of it. The first member is the primary when it has been entered."""

    def __init__(self, folder, synchronous, start_timeout):
        self.folder, self.synchronous = folder, synchronous
        self.etcd_port, self.peer_port, self.port = free_ports(3)
        self.members = [
            Member(name, folder, self.etcd_port, synchronous, start_timeout) for name in ("a", "b")
        ]
        self.running = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for each in reversed(self.running):
            each.stop()

    def start(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.peer_port))
        self.run(Process(
            self.folder / "etcd.log", "etcd", "--data-dir", self.folder / "etcd",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}", **POSTGRES,
        ))  # fmt: skip
        first, second = self.members
        first.start()
        self.run(first)
        until("the first member leads", first.is_leader)
        second.start()
        self.run(second)
        self.whole()
        (self.folder / "haproxy.cfg").write_text(self.haproxy())
        log = self.folder / "haproxy.log"
        self.run(Process(log, "/usr/sbin/haproxy", "-db", "-f", self.folder / "haproxy.cfg", **POSTGRES))
        # Until its first check it takes every server for the primary.
        until("HAProxy has looked at the replica", lambda: "/b is DOWN" in log.read_text())

    def run(self, process):
        self.running.append(process)

    def haproxy(self):
        """The lines of the document, with the ports of this cluster."""
        lines = re.search(r"^  listen hsmd_postgres\n(    .*\n)+", DOCUMENT.read_text(), re.M).group()
        lines, count = re.subn(r"(?<=bind )\S+", f"127.0.0.1:{self.port}", lines)
        for member in self.members:
            server = f"server {member.name} 127.0.0.1:{member.port} check port {member.rest_port}"
            lines, found = re.subn(rf"server {member.name} \S+ check port \d+", server, lines)
            count += found
        assert count == 3, "the document's lines name another cluster"
        times = "timeout connect 4s\n timeout client 30m\n timeout server 30m"
        return f"defaults\n {times}\n{lines}"

    def leader(self):
        return next((member for member in self.members if member.is_leader()), None)

    def whole(self):
        """Waits for a leader whose replica streams, and may take its place."""
        role = "synchronous" if self.synchronous else "replica"
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"

        def is_whole():
            leader = self.leader()
            replicas = [member for member in self.members if member.has_role(role)]
            return leader and replicas and leader.sql(query) == "1"

        until(f"a {role} member", is_whole)

    def switch_over(self):
        """An ordinary change of the primary; returns the new one."""
        old = self.leader()
        new = next(member for member in self.members if member is not old)

        subprocess.run(
            ["patronictl", "-c", old.configuration, "switchover", SCOPE, "--master", old.name,
             "--candidate", new.name, "--force"],
            env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        until("the new primary", new.is_leader)
        return new


def environment():
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": "/nonexistent"}
