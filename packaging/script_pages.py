"""script_pages.py FOLDER SCRIPT…: a manual page (section 8) for each of the operator's scripts.

What a page says is the comment at the head of the script, which ends with its usage: commands, and variables with
what they are for.
"""

import pathlib
import sys


def page(script):
    lines = []
    for line in script.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#"))
    usage = [line.strip() for line in lines if line.startswith("   ")]
    usage = [f"/usr/lib/hsmd/{line[8:]}" if line.startswith("scripts/") else line for line in usage]
    variables = [line.split(maxsplit=1) for line in usage if line.startswith("HSMD_")]
    usage = [line for line in usage if not line.startswith("HSMD_")]
    text = " ".join(line.strip() for line in lines if line.strip() and not line.startswith("   "))
    summary, _, rest = text.partition(": ")
    if summary.startswith(script.name):
        # Its own usage: what it does comes after it.
        summary, _, rest = rest.partition(". ")
    escape = lambda words: words.replace("\\", "\\\\").replace("-", "\\-")
    return "\n".join([
        f'.TH {script.name.upper()} 8 "" hsmd "System Administration"',
        ".SH NAME",
        f"{script.name} \\- {escape(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        *[part for line in usage or [f"/usr/lib/hsmd/{text.split(': ')[0]}"] for part in (escape(line), ".br")][:-1],
        ".SH DESCRIPTION",
        escape(text),
        *[".SH ENVIRONMENT"][:len(variables)],
        *[part for name, use in variables for part in (".TP", escape(name), escape(use))],
        ".SH SEE ALSO",
        "hsmctl(1), /usr/share/doc/hsmd/operations.md",
        "",
    ])


def main(folder, scripts):
    folder.mkdir(parents=True, exist_ok=True)
    for script in scripts:
        (folder / f"{script.name}.8").write_text(page(script))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]])
