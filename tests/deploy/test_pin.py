"""scripts/pin-identity: the first identity, the next one, and files that it must not touch."""

import pathlib
import re
import shutil
import tempfile
import tomllib
import unittest

from files import ROOT, run

FIRST = "E" + "a" * 43
SECOND = "E" + "b" * 43
EXAMPLES = ["services/keys/keys.example.toml", "services/auth/auth.example.toml", "services/app/app.example.toml"]


class Pin(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.daemon = self.folder / "hsmd.toml"
        # As the package writes it at first.
        shutil.copy(ROOT / "packaging/hsmd.toml.in", self.daemon)
        self.services = [shutil.copy(ROOT / path, self.folder) for path in EXAMPLES]

    def pin(self, anchor, *files):
        return run(ROOT / "scripts/pin-identity", anchor, *files)

    def test_the_first_identity_and_the_one_after_it_are_pinned_alike(self):
        for identity in (FIRST, SECOND):
            answer = self.pin(identity, self.daemon, *self.services)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertIn(f'\nidentity = "{identity}"\n', self.daemon.read_text())
            for path in self.services:
                self.assertEqual(tomllib.loads(pathlib.Path(path).read_text())["hsm"]["identity"], identity)

    def test_a_head_goes_to_the_services_alone(self):
        answer = self.pin(f"{FIRST}@7:{SECOND}", self.daemon, *self.services)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn(f'\nidentity = "{FIRST}"\n', self.daemon.read_text())
        for path in self.services:
            self.assertEqual(tomllib.loads(pathlib.Path(path).read_text())["hsm"]["identity"], f"{FIRST}@7:{SECOND}")

    def test_what_a_service_has_kept_of_another_identity_is_moved_aside(self):
        log, service = self.folder / "log.json", pathlib.Path(self.services[0])
        text = re.sub(r'(?m)^log_file = .*', f'log_file = "{log}"', service.read_text())
        service.write_text(text)
        self.assertIn(str(log), text)
        log.write_text(f'[{{"payload":{{"id":"{FIRST}","prefix":"{FIRST}"}},"signature":""}}]')
        for anchor in (FIRST, f"{FIRST}@7:{SECOND}"):
            self.assertEqual(self.pin(anchor, service).returncode, 0)
            self.assertTrue(log.exists())
        answer = self.pin(SECOND, service)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn("moved", answer.stdout)
        self.assertEqual((log.exists(), (self.folder / f"log.json.{FIRST}").exists()), (False, True))
        # Once more, as after an end between the two.
        log.write_text(f'[{{"payload":{{"id":"{FIRST}","prefix":"{FIRST}"}},"signature":""}}]')
        self.assertEqual(self.pin(SECOND, service).returncode, 0)
        self.assertFalse(log.exists())

    def test_the_mode_of_a_file_stays(self):
        self.daemon.chmod(0o640)
        self.assertEqual(self.pin(FIRST, self.daemon).returncode, 0)
        self.assertEqual(self.daemon.stat().st_mode & 0o777, 0o640)

    def test_an_identity_that_was_removed_is_added(self):
        bare = self.folder / "bare.toml"
        bare.write_text('[[token]]\nlabel = "hsmd"\n')
        for path in [self.daemon, *map(pathlib.Path, self.services)]:
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if "identity = " not in line))
        anchor = f"{FIRST}@7:{SECOND}"
        answer = self.pin(anchor, bare, self.daemon, *self.services)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(tomllib.loads(bare.read_text())["identity"], FIRST)
        # Its uids are no numbers yet.
        daemon = re.sub("@[A-Z_]+@", "1", self.daemon.read_text())
        self.assertEqual(tomllib.loads(daemon)["identity"], FIRST)
        for path in self.services:
            self.assertEqual(tomllib.loads(pathlib.Path(path).read_text())["hsm"]["identity"], anchor)

    def test_what_stands_behind_the_identity_stays(self):
        self.daemon.write_text(f'identity = "{SECOND}" # was "{FIRST}" before\n[[token]]\n')
        self.assertEqual(self.pin(FIRST, self.daemon).returncode, 0)
        self.assertEqual(self.daemon.read_text(), f'identity = "{FIRST}" # was "{FIRST}" before\n[[token]]\n')

    def test_a_link_stays_a_link(self):
        link = self.folder / "link.toml"
        link.symlink_to(self.daemon)
        answer = self.pin(FIRST, link, self.daemon)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertTrue(link.is_symlink())
        self.assertIn(f'\nidentity = "{FIRST}"\n', self.daemon.read_text())

    def test_nothing_is_changed_when_the_second_file_cannot_be_written(self):
        first, second = self.daemon, self.folder / "second.toml"
        shutil.copy(first, second)
        # In its way.
        (self.folder / "second.toml.new").mkdir()
        before = first.read_text()
        answer = self.pin(FIRST, first, second)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("nothing was changed", answer.stderr)
        self.assertEqual((first.read_text(), second.read_text()), (before, before))
        self.assertFalse((self.folder / "hsmd.toml.new").exists())

    def test_nothing_is_changed_when_one_file_does_not_fit(self):
        before = self.daemon.read_text()
        for text in (
            "",
            "[[token]]\n" + f'identity = "{FIRST}"\n' * 2,
            f"[[token]]\nidentity = '{FIRST}'\n",
            f'# identity = "{FIRST}"\nidentity = "{FIRST}"\n[[token]]\n',
            f'"identity" = "{FIRST}"\n[[token]]\n',
            f'hsm.identity = "{FIRST}"\n[hsm]\n',
            f"'hsm' . 'identity' = \"{FIRST}\"\n[hsm]\n",
            # Where it would be a setting of the database.
            '[database]\n# identity = "E…"\n[[token]]\n',
            '[hsm]\nbatch = true\n[database] # [hsm]\n# identity = "E…"\n',
            '# identity = "E…"\n[hsm]\n',
        ):
            other = self.folder / "other.toml"
            other.write_text(text)
            answer = self.pin(FIRST, self.daemon, other)
            self.assertEqual(answer.returncode, 1)
            self.assertIn("nothing was changed", answer.stderr)
            self.assertEqual(self.daemon.read_text(), before)
        for anchor in ("E", FIRST + "x", f"{FIRST}@x:{SECOND}", FIRST + '"'):
            self.assertEqual(self.pin(anchor, self.daemon).returncode, 1, anchor)
            self.assertEqual(self.daemon.read_text(), before)


if __name__ == "__main__":
    unittest.main()
