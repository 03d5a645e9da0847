"""blocks.py FILE: the shell blocks of a document that begin with `# as root`, as one script."""

import pathlib
import re
import sys

START = """set -Eeuo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
"""


def blocks(path):
    text = pathlib.Path(path).read_text()
    return re.findall(r"^```sh\n# as root\n(.*?)^```$", text, re.M | re.S)


if __name__ == "__main__":
    print(START + "\n".join(blocks(sys.argv[1])))
