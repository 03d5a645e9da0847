"""The systemd units: what systemd-analyze says of them, each drop-in's stated exposure, and whether
they name the paths, sockets and files that the configuration names."""

import pathlib
import re
import shutil
import tempfile
import tomllib
import unittest

from files import EXAMPLE, ROOT, SYSTEMD, UnitFile, run

SERVICES = ["hsmd", "hsmd-keys", "hsmd-auth", "hsmd-app", "hsmd-accounts", "hsmd-gateway"]
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))
PACKAGED = (ROOT / "packaging/hsmd.toml.in").read_text()


class Installed:
    """The units in a root folder of their own, beside systemd's, with the commands that they run."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        units = self.root / "usr/lib/systemd/system"
        units.mkdir(parents=True)
        for unit in pathlib.Path("/usr/lib/systemd/system").glob("*.target"):
            shutil.copy(unit, units)
        for unit in SYSTEMD.glob("hsmd*.*"):
            shutil.copy(unit, units)
        for command in ["bin/sh", *(f"usr/bin/{name}" for name in SERVICES), "usr/lib/hsmd/rolling-restart"]:
            path = self.root / command
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o755)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def add_drop_in(self, path):
        folder = self.root / "etc/systemd/system/hsmd.service.d"
        folder.mkdir(parents=True)
        shutil.copy(path, folder)

    def verify(self, *units):
        return run("systemd-analyze", "verify", "--man=no", f"--root={self.root}", *units)

    def exposure(self, service):
        answer = run("systemd-analyze", "security", "--offline=true", f"--root={self.root}", service)
        return float(re.search(r"Overall exposure level.*: ([0-9.]+) ", answer.stdout)[1])


class Units(unittest.TestCase):
    def assert_clean(self, answer):
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))

    def test_systemd_finds_nothing_wrong(self):
        names = [path.name for path in SYSTEMD.glob("hsmd*.*") if path.suffix in (".service", ".socket", ".timer")]
        self.assertEqual(len(names), 10)
        with Installed() as installed:
            self.assert_clean(installed.verify(*names))

    def test_a_mistake_would_be_found(self):
        with Installed() as installed:
            unit = installed.root / "usr/lib/systemd/system/hsmd.service"
            unit.write_text(unit.read_text().replace("WatchdogSec", "WatchDogSeconds"))
            self.assertIn("WatchDogSeconds", installed.verify("hsmd.service").stderr)

    def test_services_are_hardly_exposed(self):
        with Installed() as installed:
            for name in SERVICES:
                exposure = installed.exposure(f"{name}.service")
                print(f"{name}.service: exposure {exposure}")
                self.assertLessEqual(exposure, 1.5, name)

    def test_drop_ins_state_their_exposure(self):
        self.assertGreaterEqual(len(DROP_INS), 6)
        for drop_in in DROP_INS:
            with self.subTest(drop_in.name), Installed() as installed:
                installed.add_drop_in(drop_in)
                self.assert_clean(installed.verify("hsmd.service"))
                stated = float(re.search(r"^# Exposure: ([0-9.]+)$", drop_in.read_text(), re.M)[1])
                self.assertEqual(installed.exposure("hsmd.service"), stated)

    def test_callers_keep_their_uid(self):
        for name in SERVICES:
            unit = UnitFile(SYSTEMD / f"{name}.service")
            self.assertEqual(unit["Service"]["PrivateUsers"], "no", name)
            self.assertEqual(unit["Service"]["User"], name)

    def test_hsmd_is_supervised_and_started_as_designed(self):
        unit = UnitFile(SYSTEMD / "hsmd.service")
        self.assertEqual(unit["Service"]["Type"], "notify")
        self.assertIn("WatchdogSec", unit["Service"])
        self.assertIn("postgresql.service", unit["Unit"]["After"].split())

    def test_hsmd_sees_what_it_reads_in_proc(self):
        read = {path for file in (ROOT / "hsmd/src").rglob("*.rs") for path in re.findall(r'"/proc/([a-z][^"]*)"', file.read_text())}
        self.assertIn("sys/kernel/random/boot_id", read)
        self.assertEqual(UnitFile(SYSTEMD / "hsmd.service")["Service"]["ProcSubset"], "all")

    def test_accounts_may_hash_at_a_lower_priority(self):
        filters = re.findall(r"^SystemCallFilter=(.*)$", (SYSTEMD / "hsmd-accounts.service").read_text(), re.M)
        denied = run("systemd-analyze", "syscall-filter", "@resources").stdout.split()
        self.assertIn("setpriority", denied)
        # The last line that names a call decides.
        last = [line for line in filters if re.search(r"@resources|\bsetpriority\b", line)][-1]
        self.assertEqual(last, "setpriority")

    def test_sockets_are_those_of_the_configuration(self):
        for name, file in [("service", "hsmd.socket"), ("admin", "hsmd-admin.socket")]:
            socket = UnitFile(SYSTEMD / file)["Socket"]
            for listen in (EXAMPLE["listen"], tomllib.loads(re.sub("@.*@", "1", PACKAGED))["listen"]):
                self.assertEqual(socket["ListenStream"], listen[name]["path"])
                self.assertEqual(socket["SocketMode"], listen[name]["mode"])
            self.assertEqual(socket["FileDescriptorName"], name)

    def test_credentials_are_those_of_the_packaged_configuration(self):
        loaded = re.findall(r"^LoadCredential=([^:]+):", (SYSTEMD / "hsmd.service").read_text(), re.M)
        named = re.findall(r'"/run/credentials/hsmd.service/(.*)"', PACKAGED)
        # The schema's owner is for `migrate` alone, which hsmd-as-service runs.
        self.assertEqual(sorted([*loaded, "database-owner.url"]), sorted(named))

    def test_users_are_those_of_the_units(self):
        users = re.findall(r"^u (\S+)", (SYSTEMD / "hsmd.sysusers").read_text(), re.M)
        self.assertEqual(sorted(users), sorted(SERVICES))

    def test_services_keep_state_where_their_examples_say(self):
        for name in ["keys", "auth", "app", "accounts", "gateway"]:
            example = tomllib.loads((ROOT / f"services/{name}/{name}.example.toml").read_text())
            folder = UnitFile(SYSTEMD / f"hsmd-{name}.service")["Service"]["StateDirectory"]
            self.assertTrue(example["hsm"]["log_file"].startswith(f"/var/lib/{folder}/"))

    def test_restarts_come_every_twelve_hours(self):
        calendar = UnitFile(SYSTEMD / "hsmd-rolling-restart.timer")["Timer"]["OnCalendar"]
        answer = run("systemd-analyze", "calendar", "--iterations=3", "--base-time=2026-01-01 00:00:00 UTC", calendar, env={"TZ": "UTC"})
        hours = re.findall(r"2026-01-0. (\d\d:\d\d)", answer.stdout.split("elapse", 1)[1])
        self.assertEqual(hours, ["03:17", "15:17", "03:17"])


if __name__ == "__main__":
    unittest.main()
