"""checksums.py VERSION FOLDER: the SHA-256 of a release's files, as a document that hsmd signs.

checksums.py --check CHECKSUMS FOLDER: whether the files are those of the document, and no others.
CHECKSUMS is the document itself or, as `{"body":…}`, what hsmd made of it; its signature is not looked at:
`hsmctl verify` does that.
"""

import hashlib
import json
import pathlib
import sys

# What says the sums, and proves them, is not in them.
OWN = {"checksums.json", "checksums.signed.json", "hsmd-log.json"}


def sums(folder):
    files = sorted(path for path in pathlib.Path(folder).iterdir() if path.name not in OWN)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check(document, folder):
    stated = json.loads(pathlib.Path(document).read_text())
    stated = stated.get("body", {}).get("payload", stated)
    found = sums(folder)
    for name in sorted(stated["files"].keys() | found.keys()):
        if stated["files"].get(name) != found.get(name):
            sys.exit(f"{name} is not as stated")
    print(f"{len(found)} files are those of {stated['name']} {stated['version']}")


def main(*arguments):
    if len(arguments) == 3 and arguments[0] == "--check":
        return check(*arguments[1:])
    if len(arguments) != 2:
        sys.exit(__doc__)
    version, folder = arguments
    document = {"purpose": "release", "name": "hsmd", "version": version, "files": sums(folder)}
    print(json.dumps(document, separators=(",", ":")))


if __name__ == "__main__":
    main(*sys.argv[1:])
