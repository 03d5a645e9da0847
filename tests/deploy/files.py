"""Where things are, for the tests of what is deployed: the repository, the built commands, settings."""

import configparser
import os
import pathlib
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = TARGET / "debug"
SYSTEMD = ROOT / "systemd"
EXAMPLE = tomllib.loads((ROOT / "hsmd/hsmd.example.toml").read_text())
BAD_CONFIGURATION = 64


def run(*command, **options):
    """Runs a command to its end; its output is text."""
    options = {"capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run([str(word) for word in command], **options)


class UnitFile(configparser.RawConfigParser):
    """A systemd unit: keys keep their case; of a key that comes more than once the last value counts."""

    def __init__(self, path):
        super().__init__(strict=False, delimiters=("=",))
        self.optionxform = str
        self.read(path)
