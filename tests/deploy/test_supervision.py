"""What the unit relies on: hsmd takes over sockets by name, says READY, feeds the watchdog, stops.

The daemon is real; this process does what systemd does by sd_listen_fds(3) and sd_notify(3). There is
no database: the daemon waits for it, which is part of what is shown.
"""

import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from files import BIN, ROOT, run

# sh, because LISTEN_PID is the process's own id.
START = 'export LISTEN_PID=$$ && exec "$@"'


class Supervisor:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(self.folder / "notify"))
        self.notifications.settimeout(20)
        self.sockets = {}
        for name in ("admin", "service"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.folder / f"{name}.sock"))
            listener.listen()
            self.sockets[name] = listener
        url = self.folder / "writer.url"
        url.touch(mode=0o600)
        url.write_text(f"postgresql://nobody@/none?host={folder}")
        text = (ROOT / "packaging/hsmd.toml.in").read_text()
        for key, value in {
            "/run/credentials/hsmd.service/pin": folder + "/pin",
            "/run/credentials/hsmd.service/database-writer.url": folder + "/writer.url",
            "/var/lib/hsmd": folder + "/state",
            "/run/hsmd/": folder + "/",
            "uid = 0": f"uid = {os.getuid()}",
            "@KEYS_UID@": "4001", "@AUTH_UID@": "4002", "@APP_UID@": "4003", "@ACCOUNTS_UID@": "4004",
        }.items():
            text = text.replace(key, value)
        (self.folder / "hsmd.toml").write_text(text)

    def observe(self):
        """Has metrics served on a port that is free now."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with open(self.folder / "hsmd.toml", "a") as file:
            file.write(f'\n[observe]\naddress = "127.0.0.1:{port}"\n')
        return port

    def start(self):
        """The descriptors 3 and 4 are the sockets, in the order of LISTEN_FDNAMES."""
        order = ["admin", "service"]
        handed = [os.dup(self.sockets[name].fileno()) for name in order]
        environment = {
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "400000",
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": ":".join(order),
            "PATH": os.environ["PATH"],
        }
        redirect = f'exec 3<&{handed[0]} 4<&{handed[1]}; {START}'
        command = ["sh", "-c", redirect, "sh", BIN / "hsmd", "--config", self.folder / "hsmd.toml", "serve"]
        with open(self.folder / "log", "w") as log:
            process = subprocess.Popen(command, env=environment, pass_fds=handed, stderr=log)
        for descriptor in handed:
            os.close(descriptor)
        return process

    def wait_for(self, wanted):
        while wanted not in self.notifications.recv(4096).decode().splitlines():
            pass

    def close(self):
        for listener in [*self.sockets.values(), self.notifications]:
            listener.close()


class Supervision(unittest.TestCase):
    def test_sockets_ready_watchdog_stop(self):
        with tempfile.TemporaryDirectory() as folder:
            supervisor = Supervisor(folder)
            process = supervisor.start()
            try:
                supervisor.wait_for("READY=1")
                for _ in range(3):
                    supervisor.wait_for("WATCHDOG=1")
                status = run(
                    BIN / "hsmctl", "--output", "json", "status",
                    env={"HSMD_ADMIN_ENDPOINT": f"unix://{folder}/admin.sock"},
                )
                # 1: it answers on the inherited socket, and waits for its database.
                self.assertEqual(status.returncode, 1, status.stderr)
                self.assertIn("starting", status.stdout.lower())
                process.terminate()
                supervisor.wait_for("STOPPING=1")
                self.assertEqual(process.wait(timeout=20), 0)
                # They are the supervisor's: the next start gets them again.
                for name in ("service", "admin"):
                    self.assertTrue((supervisor.folder / f"{name}.sock").is_socket())
            finally:
                process.kill()
                process.wait()
                supervisor.close()


if __name__ == "__main__":
    unittest.main()
