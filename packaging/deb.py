"""deb.py TARGET PROFILE OUTPUT: builds the Debian package that hsmd/Cargo.toml describes to cargo-deb.

Reads what cargo-deb would read, so that either makes the same package; needs only dpkg-deb.
"""

import gzip
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATE = ROOT / "hsmd"


def sources(pattern, target, profile):
    """The files of an asset; like cargo-deb, takes target/release/ for the build's own folder."""
    if pattern.startswith("target/release/"):
        found = [target / profile / pattern.removeprefix("target/release/")]
    elif pattern.startswith("../target/"):
        found = sorted(target.glob(pattern.removeprefix("../target/")))
    else:
        base = (CRATE / pattern).parent.resolve()
        found = sorted(base.glob(pathlib.PurePath(pattern).name))
    if not found or not all(path.is_file() for path in found):
        sys.exit(f"deb.py: nothing is at {pattern}")
    return found


def install(metadata, target, profile, tree):
    for pattern, destination, mode in metadata["assets"]:
        for source in sources(pattern, target, profile):
            place = tree / destination
            if destination.endswith("/"):
                place = place / source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if "/man/" in destination or place.name.startswith("changelog"):
                place = place.with_name(place.name + ".gz")
                place.write_bytes(gzip.compress(source.read_bytes(), mtime=0))
            else:
                shutil.copyfile(source, place)
                if pattern.startswith("target/"):
                    subprocess.run(["strip", place], check=True)
            place.chmod(int(mode, 8))


def libraries(tree):
    """The packages of the libraries that the programs are linked with, in the versions that they need."""
    programs = sorted((tree / "usr/bin").iterdir())
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "debian/control"
        source.parent.mkdir()
        source.write_text("Source: hsmd\n\nPackage: hsmd\nArchitecture: any\n")
        command = ["dpkg-shlibdeps", "-O", *(f"-e{program}" for program in programs)]
        found = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return found.strip().removeprefix("shlibs:Depends=")


def control(metadata, version, tree):
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    description, *rest = metadata["summary"], *metadata["extended-description"].splitlines()
    fields = {
        "Package": metadata["name"],
        "Version": f"{version}-1",
        "Architecture": architecture,
        "Maintainer": metadata["maintainer"],
        "Section": metadata["section"],
        "Priority": metadata["priority"],
        "Installed-Size": str(size // 1024),
        "Depends": metadata["depends"].replace("$auto", libraries(tree)),
        "Recommends": metadata["recommends"],
        "Suggests": metadata["suggests"],
        "Description": "\n ".join([description, *rest]),
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def main(target, profile, output):
    package = tomllib.loads((CRATE / "Cargo.toml").read_text())["package"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    metadata = package["metadata"]["deb"] | {"summary": package["description"]}
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "tree"
        install(metadata, target, profile, tree)
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        sums = [
            f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
            for path in files
        ]
        debian = tree / "DEBIAN"
        debian.mkdir()
        (debian / "control").write_text(control(metadata, workspace["version"], tree))
        (debian / "md5sums").write_text("".join(sums))
        for script in (CRATE / metadata["maintainer-scripts"]).resolve().iterdir():
            shutil.copy(script, debian / script.name)
        tree.chmod(0o755)
        for path in tree.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        compression = "-Znone" if profile == "debug" else "-Zxz"
        command = ["dpkg-deb", "--root-owner-group", compression, "--build", tree, output]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3])
