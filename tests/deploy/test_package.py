"""The Debian package, built from the debug build: what is in it, and whether its parts fit."""

import gzip
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest

from files import BAD_CONFIGURATION, BIN, ROOT, TARGET, UnitFile, run

COMMANDS = ["hsmd", "hsmctl", "hsmd-softhsm", "hsmd-keys", "hsmd-auth", "hsmd-app", "hsmd-accounts", "hsmd-gateway"]


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.file = pathlib.Path(cls.folder.name) / "hsmd.deb"
        built = run(ROOT / "scripts/package", "--debug", cls.file, timeout=1200)
        assert built.returncode == 0, built.stderr
        cls.root = pathlib.Path(cls.folder.name) / "root"
        extracted = run("dpkg-deb", "--raw-extract", cls.file, cls.root)
        assert extracted.returncode == 0, extracted.stderr

    def test_every_command_of_every_unit_is_in_it(self):
        units = self.root / "usr/lib/systemd/system"
        names = {path.name for path in units.iterdir()}
        self.assertEqual(names, {p.name for p in (ROOT / "systemd").glob("hsmd*.*") if p.suffix[1:] in ("service", "socket", "timer")})
        for unit in units.glob("*.service"):
            command = UnitFile(unit)["Service"]["ExecStart"].split()[0]
            path = self.root / command.lstrip("/")
            self.assertEqual(path.stat().st_mode & 0o777, 0o755, command)

    def test_commands_run(self):
        for name in COMMANDS:
            answer = run(self.root / "usr/bin" / name, "--version")
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertIn("0.1.0", answer.stdout)

    def test_every_command_and_subcommand_has_a_manual_page(self):
        pages = self.root / "usr/share/man/man1"
        for name in COMMANDS:
            page = gzip.decompress((pages / f"{name}.1.gz").read_bytes()).decode()
            self.assertIn(name.replace("-", "\\-") + " \\- ", page)
            help_text = run(self.root / "usr/bin" / name, "--help").stdout
            for option in re.findall(r"--[a-z-]+", help_text):
                self.assertIn(option.replace("-", "\\-"), page, name)
            subcommands = help_text.partition("Commands:")[2].partition("\n\n")[0]
            for subcommand in set(re.findall(r"^  ([a-z-]+)", subcommands, re.M)) - {"help"}:
                self.assertTrue((pages / f"{name}-{subcommand}.1.gz").is_file(), (name, subcommand))

    def test_the_operators_scripts_run_from_it(self):
        scripts = self.root / "usr/lib/hsmd"
        for name in ["red-button", "rotate-hsm-key", "purge-keys-and-roll-services", "export-hsm-identity"]:
            shown = run(scripts / name, "--dry-run")
            self.assertEqual(shown.returncode, 0, shown.stderr)
            # Without --target it is the units of this machine.
            self.assertIn("unix:///run/hsmd/", shown.stdout)
            page = gzip.decompress((self.root / f"usr/share/man/man8/{name}.8.gz").read_bytes()).decode()
            self.assertIn(f"/usr/lib/hsmd/{name}".replace("-", "\\-"), page)
            # What they call is in the package, in what it needs, or recommended.
            for line in shown.stdout.splitlines():
                self.assertIn(line.split()[0], ["bash", "hsmctl", "hsmd-as-service", "redis-cli", "systemctl"], line)
            self.assertEqual("HSMD_REDIS_CLI" in page.partition(".SH ENVIRONMENT")[2], name != "export-hsm-identity")
        control = (self.root / "DEBIAN/control").read_text()
        self.assertRegex(control, r"(?m)^Recommends: .*\bredis-tools\b")

    def test_the_documents_are_in_it(self):
        documents = self.root / "usr/share/doc/hsmd"
        for path in (ROOT / "docs").glob("*.md"):
            self.assertTrue((documents / path.name).is_file(), path.name)
        for name in ["monitoring/alerts.yaml", "monitoring/dashboard.json", "monitoring/services.json", "changelog.gz"]:
            self.assertTrue((documents / name).is_file(), name)
        copyright = (documents / "copyright").read_text()
        # Both licences: one word for word (its notice may be wrapped otherwise), one by Debian's copy.
        words = lambda text: text.replace("\n .\n", " ").split()
        mit = words((ROOT / "LICENSE-MIT").read_text().partition("Permission")[2])
        self.assertIn(" ".join(mit), " ".join(words(copyright)))
        self.assertIn("/usr/share/common-licenses/Apache-2.0", copyright)
        changes = gzip.decompress((documents / "changelog.Debian.gz").read_bytes()).decode()
        parsed = subprocess.run(["dpkg-parsechangelog", "-l-", "-S", "Version"], input=changes, capture_output=True, text=True)
        self.assertEqual((parsed.stdout, parsed.stderr), ("0.1.0-1\n", ""))

    def test_every_configuration_and_script_has_a_manual_page(self):
        man = self.root / "usr/share/man"
        for name in ["hsmd", "keys", "auth", "app", "accounts", "gateway"]:
            page = man / f"man5/{name}.toml.5.gz"
            shown = run("man", "--local-file", "--encoding=UTF-8", page)
            text = shown.stdout if shown.returncode == 0 else gzip.decompress(page.read_bytes()).decode().replace("\\-", "-")
            for setting in ["[log]", 'filter = "info']:
                self.assertIn(setting, text, name)
        for name in ["hsmd-as-service", "rolling-restart", "pin-identity"]:
            self.assertTrue((man / f"man8/{name}.8.gz").is_file(), name)

    def test_it_needs_the_libraries_that_its_programs_are_linked_with(self):
        control = (self.root / "DEBIAN/control").read_text()
        self.assertRegex(control, r"(?m)^Depends: .*\blibc6 \(>= [0-9.]+\).*systemd \(>= 250\)")

    def test_what_a_purge_leaves_is_said(self):
        script = (self.root / "DEBIAN/postrm").read_text()
        for unit in (ROOT / "systemd").glob("*.service"):
            if folder := UnitFile(unit)["Service"].get("StateDirectory"):
                self.assertIn(f"/var/lib/{folder}", script)
        # With folders of this test: what is there is named, what is not isn't.
        place = pathlib.Path(self.folder.name) / "purge"
        (place / "var/lib/hsmd").mkdir(parents=True)
        moved = script.replace(" /etc/hsmd", f" {place}/etc/hsmd").replace(" /var/", f" {place}/var/").replace("/run/systemd/system", f"{place}/none")
        said = run("sh", "-c", moved, "postrm", "purge").stdout
        self.assertIn(f"left in place: {place}/var/lib/hsmd\n", said)
        self.assertIn("only copy of a signed event", said)
        self.assertEqual(run("sh", "-c", moved, "postrm", "remove").stdout, "")

    def test_completions_are_where_the_shells_look(self):
        for path in [
            "bash-completion/completions/hsmctl",
            "bash-completion/completions/hsmd",
            "bash-completion/completions/hsmd-keys",
            "bash-completion/completions/hsmd-accounts",
            "bash-completion/completions/hsmd-gateway",
            "zsh/vendor-completions/_hsmctl",
            "fish/vendor_completions.d/hsmd.fish",
        ]:
            self.assertGreater((self.root / "usr/share" / path).stat().st_size, 500, path)
        bash = self.root / "usr/share/bash-completion/completions/hsmctl"
        self.assertEqual(run("bash", "-n", bash).returncode, 0)

    def test_its_sums_are_right(self):
        checked = run("md5sum", "--check", "--quiet", "DEBIAN/md5sums", cwd=self.root)
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def test_the_daemon_accepts_the_first_configuration(self):
        template = (self.root / "usr/share/hsmd/hsmd.toml.in").read_text()
        script = (self.root / "DEBIAN/postinst").read_text()
        wanted = set(re.findall(r"@[A-Z_]+@", template))
        self.assertEqual(wanted, set(re.findall(r"@[A-Z_]+@", script)))
        for number, name in enumerate(sorted(wanted)):
            template = template.replace(name, str(900 + number))
        tomllib.loads(template)
        # `check` makes the state folder: here, not on this machine's own paths.
        template = template.replace("/var/lib/hsmd", self.folder.name + "/state")
        configuration = pathlib.Path(self.folder.name) / "hsmd.toml"
        for text, code in [(template, 1), (template + "\n[unknown]\n", BAD_CONFIGURATION)]:
            configuration.write_text(text)
            answer = run(BIN / "hsmd", "--config", configuration, "check")
            # 1: valid, but there is no database and no token here.
            self.assertEqual(answer.returncode, code, answer.stderr + answer.stdout)

    def test_it_is_what_cargo_deb_would_build(self):
        metadata = tomllib.loads((ROOT / "hsmd/Cargo.toml").read_text())["package"]["metadata"]["deb"]
        known = {  # of cargo-deb, as far as we use it
            "name", "maintainer", "section", "priority", "depends", "recommends", "suggests",
            "extended-description", "maintainer-scripts", "assets",
        }
        self.assertLessEqual(set(metadata), known)
        control = (self.root / "DEBIAN/control").read_text()
        self.assertIn(metadata["depends"].removeprefix("$auto"), control)
        self.assertTrue((TARGET / "package/man/hsmd.1").is_file())


if __name__ == "__main__":
    unittest.main()
