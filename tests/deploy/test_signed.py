"""A release's checksums, signed by the daemon that runs here and verified offline. Needs scripts/dev's env."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

from files import BIN, ROOT, run

CHECKSUMS = ROOT / "packaging/checksums.py"


class Signed(unittest.TestCase):
    def test_checksums_are_signed_by_hsmd_and_verified_without_it(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file in ["hsmd-1.2.3.tar.gz", "hsmd_1.2.3-1_amd64.deb"]:
                (folder / file).write_bytes(os.urandom(1000))
            document = run(sys.executable, CHECKSUMS, "1.2.3", folder)
            (folder / "checksums.json").write_text(document.stdout)
            signed = run(BIN / "hsmctl", "sign", folder / "checksums.json")
            self.assertEqual(signed.returncode, 0, signed.stderr)
            (folder / "checksums.signed.json").write_text(signed.stdout)
            # The key that signed is rotated out, and the log is published with the release.
            rotated = run(BIN / "hsmctl", "rotate", "--reason", "after a release")
            self.assertEqual(rotated.returncode, 0, rotated.stderr)
            (folder / "hsmd-log.json").write_text(run(BIN / "hsmctl", "log", "--json").stdout)
            identity = json.loads(run(BIN / "hsmctl", "--output", "json", "identity").stdout)["identity"]

            away = {key: value for key, value in os.environ.items() if not key.startswith("HSMD_")}
            verify = lambda: run(
                BIN / "hsmctl", "--identity", identity, "verify", "--window", "3650d", "--log", folder / "hsmd-log.json",
                "--signed", folder / "checksums.signed.json", env=away)
            self.assertEqual(verify().returncode, 0, verify().stdout + verify().stderr)
            checked = run(sys.executable, CHECKSUMS, "--check", folder / "checksums.signed.json", folder)
            self.assertEqual(checked.stdout, "2 files are those of hsmd 1.2.3\n")
            # Another sum in the signed document proves nothing any more.
            text = signed.stdout
            digest = json.loads(document.stdout)["files"]["hsmd-1.2.3.tar.gz"]
            (folder / "checksums.signed.json").write_text(text.replace(digest, "0" * 64))
            self.assertEqual(verify().returncode, 2)


if __name__ == "__main__":
    unittest.main()
