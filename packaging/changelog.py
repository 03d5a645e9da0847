"""changelog.py version|date|notes|debian: what CHANGELOG.md says of its newest version.

A version's heading is `## 1.2.3 (2026-11-22)`; what is not released yet stands under `## Unreleased`.
"""

import datetime
import email.utils
import os
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADING = re.compile(r"^## (?:(\d+\.\d+\.\d+)(?: \((\d{4}-\d\d-\d\d)\))?|(Unreleased))$", re.M)


def sections(text):
    """(version or None, date or None, notes), newest first."""
    found = list(HEADING.finditer(text))
    ends = [heading.start() for heading in found[1:]] + [len(text)]
    return [(h[1], h[2], text[h.end():end].strip()) for h, end in zip(found, ends)]


def workspace_version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def committed():
    """SOURCE_DATE_EPOCH, or when the newest commit was made; a source archive has none."""
    if stated := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(stated)
    if not (ROOT / ".git").exists():
        return None
    return int(subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT, text=True))


def stamp(day):
    """A day, or else the newest commit, in Unix time."""
    if day:
        moment = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.timezone.utc)
        return int(moment.timestamp())
    return committed() or 0


def debian(name, maintainer, found):
    """The Debian changelog: a version each, and what is not released as the workspace's version."""
    entries = []
    for version, day, notes in found:
        lines = [line for line in notes.splitlines() if line.startswith(("- ", "  "))]
        body = "\n".join(("  * " + line[2:]) if line.startswith("- ") else "  " + line for line in lines)
        state = "unstable" if version else "UNRELEASED"
        date = email.utils.formatdate(stamp(day))
        entries.append(f"{name} ({version or workspace_version()}-1) {state}; urgency=medium\n\n"
                       f"{body or '  * See CHANGELOG.md.'}\n\n -- {maintainer}  {date}\n")
    return "\n".join(entries)


def main(what):
    found = sections((ROOT / "CHANGELOG.md").read_text())
    version, day, notes = found[0]
    if what == "version":
        if version is None:
            sys.exit("CHANGELOG.md begins with what is not released")
        print(version)
    elif what == "date":
        print(stamp(day))
    elif what == "notes":
        print(notes)
    elif what == "debian":
        metadata = tomllib.loads((ROOT / "hsmd/Cargo.toml").read_text())["package"]["metadata"]["deb"]
        print(debian(metadata["name"], metadata["maintainer"], found), end="")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
