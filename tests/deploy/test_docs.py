"""The operators' documents: every command, unit, file and message that they name is real."""

import json
import re
import shlex
import tempfile
import unittest

import blocks
from files import BIN, ROOT, SYSTEMD, run

DOCUMENTS = ["docs/operations.md", "docs/disaster-recovery.md", "docs/threat-model.md", "docs/migrate.md", "k8s/README.md",
             "SECURITY.md"]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ASSETS = (ROOT / "hsmd/Cargo.toml").read_text()
# hsmd-as-service takes hsmd's commands.
PROGRAMS = {"hsmctl": "hsmctl", "hsmd": "hsmd", "hsmd-as-service": "hsmd"}


def code(text):
    """What stands in backticks and in blocks: lines that may hold commands."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return [line for block in blocks for line in block.splitlines()] + inline


def commands(line):
    """The commands of ours in a line, as lists of words."""
    for part in re.split(r"[;|&()]|\bdo\b|\buntil\b|--container| -- ", line):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            words = part.split()
        if words and words[0] in PROGRAMS and len(words) > 1:
            yield words


class Documents(unittest.TestCase):
    def test_commands_and_options_exist(self):
        found = 0
        for name in DOCUMENTS:
            for line in code((ROOT / name).read_text()):
                for program, *words in commands(line.replace("$(", "(").strip("'")):
                    with self.subTest(f"{name}: {line}"):
                        words = [word.strip("'") for word in words]
                        if words[0] == "--service":
                            self.check_service(*words[1:])
                        else:
                            self.check(PROGRAMS[program], words)
                        found += 1
        self.assertGreater(found, 25)

    def check_service(self, service, command, *options):
        for name in ["keys", "auth", "app"] if service == "$name" else [service]:
            self.assertIn(command, run(BIN / f"hsmd-{name}", "--help").stdout)
            if options:
                text = run(BIN / f"hsmd-{name}", command, "--help").stdout
                for option in [word for word in options if word.startswith("--")]:
                    self.assertIn(option, text)

    def check(self, program, words):
        top = run(BIN / program, "--help").stdout
        known = re.findall(r"^  ([a-z-]+) ", top.partition("Commands:")[2], re.M)
        subcommand = next((word for word in words if word in known), None)
        self.assertIsNotNone(subcommand, words)
        text = run(BIN / program, subcommand, "--help").stdout
        for option in [word for word in words if word.startswith("--")]:
            self.assertIn(f"{option} ", text.replace("\n", " "))

    def test_what_root_types_runs_with_the_services_credentials(self):
        for name in ["docs/operations.md", "docs/disaster-recovery.md"]:
            text = (ROOT / name).read_text()
            typed = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
            self.assertGreater(sum("hsmd-as-service" in line for line in typed), 10)
            self.assertEqual([line for line in typed if line.startswith("hsmd ")], [], name)

    def test_a_restore_keeps_a_database_that_is_only_older(self):
        older, lost, start = blocks.sections(ROOT / "docs/operations.md", ["7"])
        self.assertNotIn("dropdb", older)
        self.assertIn("dropdb", lost)
        for block in (older, lost):
            self.assertIn("hsmd-as-service import", block)
        self.assertIn("serve --take-over-token", start)

    def test_units_exist(self):
        named = set(re.findall(r"\bhsmd[a-z-]*\.(?:service|socket|timer)\b", "".join(code(OPERATIONS))))
        self.assertGreaterEqual(len(named), 6)
        for unit in named:
            self.assertTrue((SYSTEMD / unit).is_file(), unit)

    def test_installed_files_are_in_the_package(self):
        named = set(re.findall(r"/(usr/share/[a-z/-]+/)[a-z.-]*", OPERATIONS))
        self.assertGreaterEqual(len(named), 2)
        for folder in named:
            self.assertIn(f'"{folder}"', ASSETS)

    def test_messages_and_reasons_are_the_daemons(self):
        source = "".join(path.read_text() for name in ("hsmd", "support", "runtime") for path in (ROOT / name / "src").rglob("*.rs"))
        source = re.sub(r"\\\n\s*", "", source)
        rows = OPERATIONS.partition("## 10.")[2].partition("\n## ")[0]
        symptoms = [row.split("|")[1] for row in re.findall(r"^\| .* \|$", rows, re.M)][2:]
        self.assertGreater(len(symptoms), 15)
        for symptom in symptoms:
            for text in re.findall(r"`([^`]+)`", symptom) + re.findall(r"\b[A-Z]+_[A-Z_]+\b", symptom):
                if not text.startswith("CKR_") and text not in ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"):
                    # What differs from case to case is written as an ellipsis.
                    said = all(part.strip() in source for part in text.split("…"))
                    self.assertTrue(said, f"{text!r} is said nowhere in hsmd/src")

    def test_a_log_with_nine_digits_is_refused_as_said(self):
        vectors = json.loads((ROOT / "chain/tests/vectors.json").read_text())
        said = re.search("`(not of the form [^`]*)`", (ROOT / "docs/migrate.md").read_text().replace("\n", " "))[1]
        finer = re.sub(r'("createdAt":"[^"]*)Z"', r'\g<1>000000Z"', vectors["hsmKeysReply"])
        for text, code in [(vectors["hsmKeysReply"], 0), (finer, 2)]:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                ended = run(BIN / "hsmctl", "--identity", vectors["hsmIdentity"], "verify", "--log", file.name)
            self.assertEqual((ended.returncode, said in ended.stderr), (code, code == 2), ended)
        self.assertIn("event 0", ended.stderr)

    def test_scripts_know_their_options(self):
        found = re.findall(r"`(?:/usr/lib/hsmd|scripts)/([a-z-]+)( --[^`]*)?`", OPERATIONS)
        found = [(f"scripts/{name}", options) for name, options in found]
        self.assertGreaterEqual(len(found), 3)
        for script, options in found:
            text = (ROOT / script).read_text() + (ROOT / "scripts/target.sh").read_text()
            for option in re.findall(r"--[a-z-]+", options):
                self.assertTrue(option in text, (script, option))

    def test_links_lead_somewhere(self):
        for name in DOCUMENTS:
            for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
                self.assertTrue((ROOT / name).parent.joinpath(link).exists(), (name, link))


if __name__ == "__main__":
    unittest.main()
