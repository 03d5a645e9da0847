"""blocks.py FILE [SECTION…]: the shell blocks of a document as one script: those that begin with `# as root`,
or those of the sections with these numbers; 1.2 is the second block of section 1.
"""

import pathlib
import re
import sys

START = """set -Eeuo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
"""


def blocks(path):
    text = pathlib.Path(path).read_text()
    return re.findall(r"^```sh\n# as root\n(.*?)^```$", text, re.M | re.S)


def sections(path, wanted):
    parts = re.split(r"^## ", pathlib.Path(path).read_text(), flags=re.M)
    for name in wanted:
        number, _, block = name.partition(".")
        part = next(part for part in parts if part.startswith(f"{number}. "))
        found = re.findall(r"^```sh\n(.*?)^```$", part, re.M | re.S)
        yield from found[int(block) - 1:int(block)] if block else found


if __name__ == "__main__":
    file, *wanted = sys.argv[1:]
    print(START + "\n".join(sections(file, wanted) if wanted else blocks(file)))
