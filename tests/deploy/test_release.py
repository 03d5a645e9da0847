"""What a release is made of: its version and notes, its checksums, its SBOMs, and the compared builds."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from files import ROOT, run

sys.path.insert(0, str(ROOT / "packaging"))
import changelog  # noqa: E402


class Release(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_the_version_is_the_changelogs(self):
        text = "# Changelog\n\n## Unreleased\n\n- a\n\n## 1.2.3 (2026-11-22)\n\n### Added\n- b\n  c\n\n## 1.2.2\n- d\n"
        found = changelog.sections(text)
        self.assertEqual([entry[:2] for entry in found], [(None, None), ("1.2.3", "2026-11-22"), ("1.2.2", None)])
        self.assertIn("- b\n  c", found[1][2])
        self.assertEqual(changelog.stamp("1970-01-02"), 86400)
        # Ours can be read, to its end.
        ours = changelog.sections((ROOT / "CHANGELOG.md").read_text())
        headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
        self.assertEqual(len(ours), len(headings))

    def test_a_release_begins_with_a_version_and_a_clean_tree(self):
        copy = self.folder / "copy"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, copy], check=True)
        text = (copy / "CHANGELOG.md").read_text()
        for heading, said in [
            ("## Unreleased", "begins with what is not released"),
            ("## 9.8.7 (2026-11-22)", "CHANGELOG.md says 9.8.7, Cargo.toml says"),
            (f"## {changelog.workspace_version()} (2026-11-22)", "not committed"),
        ]:
            first = next(line for line in text.splitlines() if line.startswith("## "))
            (copy / "CHANGELOG.md").write_text(text.replace(first, heading, 1))
            if heading == "## Unreleased":
                (copy / "CHANGELOG.md").write_text(text.replace(first, "## Unreleased\n\n## 0.0.1", 1))
            answer = run(copy / "scripts/release", self.folder / "out", env={"PATH": os.environ["PATH"], "HOME": str(self.folder)})
            self.assertEqual(answer.returncode, 1, answer.stderr)
            self.assertIn(said, answer.stderr)
            self.assertFalse((self.folder / "out").exists())

    def test_checksums_name_every_file_and_no_other(self):
        (self.folder / "a.deb").write_bytes(b"a")
        (self.folder / "b.tar.gz").write_bytes(b"b")
        (self.folder / "hsmd-log.json").write_bytes(b"[]")
        tool = ROOT / "packaging/checksums.py"
        made = run(sys.executable, tool, "1.2.3", self.folder)
        self.assertEqual(made.returncode, 0, made.stderr)
        # One compact object, which hsmd signs byte for byte.
        document = json.loads(made.stdout)
        self.assertEqual(made.stdout.strip(), json.dumps(document, separators=(",", ":")))
        self.assertEqual((document["purpose"], sorted(document["files"])), ("release", ["a.deb", "b.tar.gz"]))
        signed = {"body": {"payload": document, "hsm": {}}, "signature": ""}
        (self.folder / "checksums.signed.json").write_text(json.dumps(signed))
        check = lambda: run(sys.executable, tool, "--check", self.folder / "checksums.signed.json", self.folder)
        self.assertEqual(check().stdout, "2 files are those of hsmd 1.2.3\n")
        (self.folder / "a.deb").write_bytes(b"A")
        self.assertIn("a.deb is not as stated", check().stderr)
        (self.folder / "a.deb").write_bytes(b"a")
        (self.folder / "more").write_bytes(b"")
        self.assertIn("more is not as stated", check().stderr)
        (self.folder / "more").unlink()
        (self.folder / "b.tar.gz").unlink()
        self.assertIn("b.tar.gz is not as stated", check().stderr)

    def test_an_sbom_is_the_same_wherever_and_whenever_it_was_made(self):
        made = []
        for number in (1, 2):
            source = self.folder / f"build-{number}"
            (source / "hsmd").mkdir(parents=True)
            (source / "Cargo.lock").touch()
            file = source / "hsmd/hsmd_bin.cdx.json"
            file.write_text(json.dumps({
                "bomFormat": "CycloneDX", "serialNumber": f"urn:uuid:{number}",
                "metadata": {"timestamp": f"2026-01-0{number}T00:00:00Z", "component": {"bom-ref": f"path+file://{source}/hsmd#0.1.0"}},
                "components": [{"name": "x", "version": "1"}],
            }))
            answer = run(sys.executable, ROOT / "packaging/sbom.py", file, env=os.environ | {"SOURCE_DATE_EPOCH": "86400"})
            self.assertEqual(answer.returncode, 0, answer.stderr)
            made.append(answer.stdout)
        self.assertEqual(made[0], made[1])
        self.assertEqual(json.loads(made[0])["metadata"]["timestamp"], "1970-01-02T00:00:00Z")


if __name__ == "__main__":
    unittest.main()
