"""How the tests run the operator's scripts, and stubs of the programs that these call."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

from files import ROOT

OLD, NEW = "E" + "o" * 43, "E" + "n" * 43


def run(script, *arguments, **variables):
    environment = os.environ | {"HSMD_ENDORSED_WITHIN": "8", "HSMD_PURGE_ROUNDS": "2"} | variables
    done = subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
    )
    return done.returncode, done.stderr


class Scripts(unittest.TestCase):
    def assert_done(self, what, said):
        """A line of its own: "NOT done" ends alike."""
        self.assertRegex(said, rf"(?m)^done: {what}$")


def soon(look):
    return any(look() or time.sleep(0.1) for _ in range(300))


@contextlib.contextmanager
def programs(**bodies):
    """Programs in bash that are found before the machine's; each notes its arguments in `calls` beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, body in bodies.items():
            path = pathlib.Path(folder) / name.replace("_", "-")
            path.write_text(f'#!/bin/bash\ncd "$(dirname "$0")" && echo "{path.name} $*" >>calls\n{body}\n')
            path.chmod(0o755)
        yield {"PATH": f"{folder}:{os.environ['PATH']}", "HSMD_ENDORSED_WITHIN": "1"}


def folder(played):
    return pathlib.Path(played["PATH"].partition(":")[0])


def calls(played):
    return (folder(played) / "calls").read_text().splitlines()


def compact(value):
    """As hsmctl prints it."""
    return json.dumps(value, separators=(",", ":"))


def status(state, generation, *problems):
    return compact({"state": state, "problems": problems, "head": {"id": OLD}, "activeGenerationId": generation})


def hsmctl(file=None, generation=OLD, destroyed=True):
    """Its status, with the generation that signs, and its answer to rotate and taint."""
    event = {"id": NEW, "payload": "{}"}
    answer = compact({"performed": True, "keyDestroyed": destroyed, "eventFile": file, "event": event})
    return f"""case "$*" in *status*) echo '{status("serving", generation)}' ;; *) echo '{answer}' ;; esac"""


def cluster(deployments, running, answers=hsmctl(), more=""):
    """A kubectl: the deployments with their replicas, the pods that run, and without deployment/redis."""
    return f"""case "$*" in
    {more}
    *'get deployments'*) echo -n '{deployments} ' ;;
    *'get deployment/accounts'*) echo deployment.apps/accounts ;;
    *'get pods'*) echo -n '{running}' ;;
    *'exec service/hsmd -- hsmctl'*) {answers} ;;
    *'exec accounts-'*) echo '{{"generationId":"{NEW}"}}' ;;
    *'exec auth-'* | *'exec keys-'*) echo '{{"status":"healthy","headId":"{NEW}"}}' ;;
    *rollout* | *'exec deployment/accounts'*) ;;
    *) echo "Error from server (NotFound)" >&2; exit 1 ;;
    esac"""


def units(*active, enabled=()):
    """A systemctl: the units that run, and those that are enabled without running; the others are not there."""
    states = "".join(f"*' {unit}') echo ActiveState=active; echo UnitFileState=enabled ;;\n" for unit in active)
    states += "".join(f"*' {unit}') echo ActiveState=inactive; echo UnitFileState=enabled ;;\n" for unit in enabled)
    return f"""case "$*" in
    show*) case "$*" in
        {states}
        *) echo ActiveState=inactive; echo UnitFileState= ;;
        esac ;;
    *is-active*) [[ " {" ".join(active)} " == *" ${{*: -1}} "* ]] || exit 3 ;;
    esac"""


# A redis-cli with the keys that the files db0 and db1 beside it name, one a line. Nothing publishes one again.
REDIS = """db=db0; case "$*" in *'-n 1 '*) db=db1 ;; esac; touch $db
case "$*" in
*--scan*) cat $db ;;
*' del '*) for key in "${@:4}"; do grep -cx "$key" $db; sed -i "/^$key$/d" $db; done | paste -sd + | (read -r sum; echo $((sum))) ;;
*flushdb) : >$db; echo OK ;;
esac"""
