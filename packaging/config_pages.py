"""config_pages.py FOLDER NAME=EXAMPLE…: a manual page (section 5) for each configuration file.

The page is the documented example itself: each setting with its comment and its default.
"""

import pathlib
import sys


def escape(text):
    """Text as roff shows it: backslashes and hyphens as they are, no line taken for a request."""
    return "\n".join(("\\&" if line.startswith((".", "'")) else "") + line.replace("\\", "\\e").replace("-", "\\-")
                     for line in text.splitlines())


def page(name, example):
    program = {"hsmd.toml": "hsmd"}.get(name, f"hsmd-{name.removesuffix('.toml')}")
    return "\n".join([
        f'.TH {name.upper()} 5 "" hsmd "File Formats"',
        ".SH NAME",
        f"{name} \\- the configuration of {escape(program)}",
        ".SH SYNOPSIS",
        escape(f"/etc/hsmd/{name}"),
        ".SH DESCRIPTION",
        escape(f"{program} reads this file when it starts. What follows is the documented example, "
               f"/usr/share/doc/hsmd/examples/{example.name}."),
        ".PP",
        ".nf",
        escape(example.read_text()),
        ".fi",
        ".SH SEE ALSO",
        escape(f"{program}(1), /usr/share/doc/hsmd/operations.md"),
        "",
    ])


def main(folder, entries):
    folder.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        name, _, example = entry.partition("=")
        (folder / f"{name}.5").write_text(page(name, pathlib.Path(example)))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
