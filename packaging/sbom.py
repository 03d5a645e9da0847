"""sbom.py FILE: a CycloneDX document without what changes from build to build, on standard output.

The serial number is made from the content instead of at random, the time is SOURCE_DATE_EPOCH, and paths of
the build's folder are left out.
"""

import datetime
import json
import os
import pathlib
import sys
import uuid


def without_paths(value, folder):
    if isinstance(value, dict):
        return {key: without_paths(of, folder) for key, of in value.items()}
    if isinstance(value, list):
        return [without_paths(of, folder) for of in value]
    return value.replace(folder, "") if isinstance(value, str) else value


def main(file):
    path = pathlib.Path(file).resolve()
    document = json.loads(path.read_text())
    source = next(parent for parent in path.parents if (parent / "Cargo.lock").is_file())
    document = without_paths(document, str(source))
    moment = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document["metadata"]["timestamp"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    document.pop("serialNumber", None)
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(sys.argv[1])
