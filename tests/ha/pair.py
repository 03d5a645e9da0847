"""Two daemons of a standby pair, as systemd would run them: one SoftHSM token, one key log, `state_dir` and
sockets of their own."""

import json
import os
import secrets
import subprocess
import threading

from processes import BIN, Process, until

# As hsmd.service: RestartSec and RestartPreventExitStatus.
RESTART_AFTER = 2
REFUSED = (64, 65)

CONFIGURATION = """
state_dir = "{folder}/state"
standby = true
{identity}
[database]
writer_url_file = "{folder}/writer.url"
owner_url_file = "{folder}/owner.url"
[[token]]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "shared"
pin_file = "{pin}"
[purposes]
endorse = ["access"]
sign = ["document"]
[listen.service]
path = "{folder}/service.sock"
mode = "0600"
[listen.admin]
path = "{folder}/admin.sock"
mode = "0600"
[[caller]]
name = "caller"
uid = {uid}
sign = ["document"]
read_log = true
[[admin]]
name = "admin"
uid = {uid}
allow = ["status", "rotate", "taint"]
"""


def url(role, hosts, writable=False):
    places = ",".join(f"127.0.0.1:{port}" for port in hosts)
    only = "?target_session_attrs=read-write" if writable else ""
    return f"postgresql://{role}@{places}/hsmd{only}"


class Daemon:
    """One hsmd. After an exit it is started again, unless it says that only a person can help."""

    def __init__(self, name, folder, token, way):
        self.name, self.folder, self.environment = name, folder / f"hsmd-{name}", token.environment
        self.log = self.folder / "log"
        self.stopping, self.supervisor, self.process = threading.Event(), None, None
        (self.folder / "state").mkdir(parents=True)
        self.pin = token.pin
        for role in ("writer", "owner"):
            (self.folder / f"{role}.url").write_text(url(f"hsmd_{role}", **way))
            (self.folder / f"{role}.url").chmod(0o600)
        self.configure(identity=None)

    def configure(self, identity):
        line = f'identity = "{identity}"' if identity else ""
        text = CONFIGURATION.format(folder=self.folder, pin=self.pin, uid=os.getuid(), identity=line)
        (self.folder / "hsmd.toml").write_text(text)

    def command(self, *words):
        return [BIN / "hsmd", "--config", self.folder / "hsmd.toml", *words]

    def run(self, *words):
        done = subprocess.run(self.command(*words), env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"hsmd {words}: {done.stderr}"
        return done.stdout.strip()

    def serve(self):
        self.supervisor = threading.Thread(target=self.supervise)
        self.supervisor.start()

    def supervise(self):
        while not self.stopping.is_set():
            self.process = Process(self.log, *self.command("serve"), env=self.environment)
            if self.process.popen.wait() in REFUSED or self.stopping.wait(RESTART_AFTER):
                return

    def stop(self):
        self.stopping.set()
        # It may be starting one just now.
        while self.supervisor and self.supervisor.is_alive():
            if self.process:
                self.process.stop()
            self.supervisor.join(0.1)

    def hsmctl(self, *words, document=None):
        """The exit code and standard output of hsmctl on this daemon."""
        environment = self.environment | {
            "HSMD_ENDPOINT": f"unix://{self.folder}/service.sock",
            "HSMD_ADMIN_ENDPOINT": f"unix://{self.folder}/admin.sock",
        }
        done = subprocess.run(
            [BIN / "hsmctl", *words], env=environment, input=document, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    def state(self):
        """What Status says; "away" when nothing answers."""
        _, status = self.hsmctl("--output", "json", "--timeout", "3s", "status")
        return json.loads(status)["state"] if status else "away"

    def known_log(self):
        """The log in its `state_dir`, in the published form; None if there is none yet."""
        files = list((self.folder / "state").glob("E*.log"))
        return f"[{','.join(files[0].read_text().splitlines())}]" if files else None


class Token:
    """The SoftHSM token that both use."""

    def __init__(self, folder):
        self.pin = folder / "pin"
        self.pin.write_text(secrets.token_hex(8))
        self.pin.chmod(0o600)
        made = subprocess.run(
            [BIN / "hsmd-softhsm", "provision", "--dir", folder / "softhsm", "--label", "shared",
             "--pin-file", self.pin],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        self.environment = os.environ | {"SOFTHSM2_CONF": made.stdout.strip()}


class Pair:
    """Daemons `a`, which serves when the pair has been entered, and `b`, which stands by. Each has its way to
    Postgres: through HAProxy, or by a URL that names both members."""

    def __init__(self, folder, cluster, by_hosts=()):
        proxy = {"hosts": [cluster.port]}
        hosts = {"hosts": [member.port for member in cluster.members], "writable": True}
        token = Token(folder)
        self.daemons = [
            Daemon(name, folder, token, hosts if name in by_hosts else proxy) for name in ("a", "b")
        ]
        for statement in (
            "CREATE ROLE hsmd_owner LOGIN", "CREATE ROLE hsmd_writer LOGIN",
            "CREATE DATABASE hsmd OWNER hsmd_owner",
        ):  # fmt: skip
            assert cluster.leader().sql(statement) is not None, statement

    def __enter__(self):
        first, second = self.daemons
        first.run("migrate", "--wait", "60s")
        self.identity = first.run("init")
        for daemon in self.daemons:
            daemon.environment = daemon.environment | {"HSMD_IDENTITY": self.identity}
            daemon.configure(self.identity)
        try:
            first.serve()
            until("the first daemon serves", lambda: first.state() == "serving")
            second.serve()
            until("the second stands by", lambda: second.state() == "standby")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in self.daemons:
            daemon.stop()
