"""The operator's scripts on bad days, on the development installation in HSMD_DEV with its services.

Half of the work must never pass for the whole: each case looks at the exit code, at what was said, and
at what was done.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEV = pathlib.Path(os.environ["HSMD_DEV"])


def run(script, *arguments, **variables):
    environment = os.environ | {"HSMD_ENDORSED_WITHIN": "8", "HSMD_PURGE_ROUNDS": "2"} | variables
    done = subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
    )
    return done.returncode, done.stderr


def pid(name):
    return int((DEV / f"{name}.pid").read_text())


@contextlib.contextmanager
def stopped(name):
    """A process that holds its connections and answers nothing."""
    os.kill(pid(name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid(name), signal.SIGCONT)


def events():
    log = subprocess.check_output(["hsmctl", "log", "--json"], text=True)
    payloads = [entry["payload"] for entry in json.loads(log)]
    return [json.loads(text) if isinstance(text, str) else text for text in payloads]


def redis(*words):
    socket = os.environ["HSMD_REDIS_SOCKET"]
    return subprocess.check_output(["redis-cli", "-s", socket, *words], text=True).strip()


def accounts(path, headers, body=None):
    """An answer of the accounts service, and its cookie."""
    request = urllib.request.Request(f"{os.environ['HSMD_ACCOUNTS_URL']}/api/auth{path}", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer), (answer.headers["set-cookie"] or "").partition(";")[0]


def sign_up():
    body = {"name": "Ann", "email": f"ann-{time.time_ns()}@example.com", "password": "correct horse"}
    headers = {"content-type": "application/json", "origin": os.environ["HSMD_ACCOUNTS_ORIGIN"]}
    return accounts("/sign-up/email", headers, json.dumps(body).encode())[1]


def session(cookie):
    return accounts("/get-session", {"cookie": cookie})[0]


def accounts_kids():
    return {key["kid"] for key in accounts("/jwks", {})[0]["keys"]}


def dead(kids):
    """Whether none of these keys is listed; not known while new ones wait for their endorsement."""
    try:
        return kids.isdisjoint(accounts_kids())
    except urllib.error.HTTPError as error:
        assert error.code == 503, error
        return False


def soon(look):
    return any(look() or time.sleep(0.1) for _ in range(300))


class BadDays(unittest.TestCase):
    def tearDown(self):
        subprocess.run([ROOT / "scripts/dev", "up", "--all"], check=True, capture_output=True)

    def test_purge_does_nothing_while_redis_cannot_be_listed(self):
        keys, auth = redis("-n", "0", "dbsize"), pid("auth-1")
        with stopped("redis"):
            code, said = run("purge-keys-and-roll-services", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("Redis 0 can't be listed", said)
        self.assertIn("nothing was done", said)
        self.assertEqual((redis("-n", "0", "dbsize"), pid("auth-1")), (keys, auth))

    def test_purge_takes_no_service_out_while_hsmd_is_away(self):
        auth = pid("auth-1")
        with stopped("hsmd"):
            code, said = run("purge-keys-and-roll-services", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("hsmd does not answer", said)
        self.assertIn("nothing was done", said)
        self.assertNotIn("reset", said)
        self.assertEqual(pid("auth-1"), auth)

    def test_purge_ends_beside_a_publisher_that_it_does_not_know(self):
        enough = threading.Event()
        foreign = '{"body":{"payload":{"purpose":"response"}}}'

        def publish():
            while not enough.wait(0.2):
                redis("-n", "1", "set", "1AAIforeign", foreign)

        publisher = threading.Thread(target=publish)
        redis("-n", "1", "set", "1AAIforeign", foreign)
        publisher.start()
        try:
            code, said = run("purge-keys-and-roll-services", "--yes")
        finally:
            enough.set()
            publisher.join()
            redis("-n", "1", "del", "1AAIforeign")
        self.assertEqual(code, 1, said)
        self.assertIn("1AAIforeign, purpose response", said)
        self.assertIn("done: every service restarted with new keys", said)
        self.assertIn("NOT done: old keys purged", said)

    def test_the_red_button_goes_on_after_a_failure_without_a_second_taint(self):
        before = events()[-1]["id"]
        with stopped("redis"):
            code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("done: tainted", said)
        self.assertIn("NOT done: published keys purged", said)
        self.assertIn(f"--expected {before}", said)
        tainted = events()
        self.assertTrue(tainted[-1]["taintPrevious"])
        code, said = run("red-button", "--yes", "--expected", before)
        self.assertEqual(code, 0, said)
        self.assertIn("nothing was replaced now", said)
        self.assertEqual(events(), tainted)

    def test_the_service_that_does_not_answer_is_named(self):
        for script in (["red-button", "--yes"], ["rotate-hsm-key"]):
            with self.subTest(script=script), stopped("auth-1"):
                code, said = run(*script)
                self.assertEqual(code, 1, said)
                self.assertIn("auth-1 (no answer)", said)
                self.assertNotIn("auth-2", said)
        os.kill(pid("app"), signal.SIGTERM)
        code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("app (no answer)", said)

    def test_nothing_is_tainted_while_hsmd_is_away(self):
        before = events()
        with stopped("hsmd"):
            code, said = run("red-button", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("nothing was done", said)
        self.assertEqual(events(), before)

    def test_ending_the_sessions_taints_first_and_removes_the_old_keys_last(self):
        old = set(redis("-n", "0", "--scan", "--pattern", "1AAI*").splitlines())
        cookie, kids = sign_up(), accounts_kids()
        self.assertIsNotNone(session(cookie))
        code, said = run("red-button", "--yes", "--end-sessions")
        self.assertEqual(code, 0, said)
        self.assertIsNone(session(cookie))
        self.assertTrue(kids and soon(lambda: dead(kids)), kids)
        steps = ["tainted:", "every service restarted with new keys:", "old keys purged:",
                 "accounts' signing keys withdrawn:", "accounts' sessions ended:"]
        places = [said.index(step) for step in steps]
        self.assertEqual(places, sorted(places))
        new = set(redis("-n", "0", "--scan", "--pattern", "1AAI*").splitlines())
        self.assertTrue(old and new and not old & new)

    def test_a_rotation_shows_the_new_public_key_and_needs_no_curl(self):
        old = events()[-1]["id"]
        with programs(curl="exit 127") as played:
            code, said = run("rotate-hsm-key", **played)
        self.assertEqual(code, 0, said)
        self.assertIn(f"its public key is {events()[-1]['publicKey']}", said)
        # Before the change, for whom an end by force leaves without the last lines.
        self.assertIn(f"generation {old} is to be replaced", said)


OLD, NEW = "E" + "o" * 43, "E" + "n" * 43


def compact(value):
    """As hsmctl prints it."""
    return json.dumps(value, separators=(",", ":"))


def status(state, generation, *problems):
    return compact({"state": state, "problems": problems, "head": {"id": OLD}, "activeGenerationId": generation})


def hsmctl(file=None):
    answer = compact({"performed": True, "eventFile": file, "event": {"id": NEW, "payload": "{}"}})
    return f"""case "$*" in *status*) echo '{status("serving", OLD)}' ;; *) echo '{answer}' ;; esac"""


@contextlib.contextmanager
def programs(**bodies):
    """Programs in bash that are found before the machine's; each notes its arguments in `calls` beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for name, body in bodies.items():
            path = pathlib.Path(folder) / name.replace("_", "-")
            path.write_text(f'#!/bin/bash\ncd "$(dirname "$0")" && echo "{path.name} $*" >>calls\n{body}\n')
            path.chmod(0o755)
        yield {"PATH": f"{folder}:{os.environ['PATH']}", "HSMD_ENDORSED_WITHIN": "1"}


def calls(played):
    return (pathlib.Path(played["PATH"].partition(":")[0]) / "calls").read_text().splitlines()


def cluster(deployments, running, answers=hsmctl(), more=""):
    """A kubectl: the deployments with their replicas, the pods that run, and without deployment/redis."""
    return f"""case "$*" in
    {more}
    *'get deployments'*) echo -n '{deployments} ' ;;
    *'get deployment/accounts'*) echo deployment.apps/accounts ;;
    *'get pods'*) echo -n '{running}' ;;
    *'exec service/hsmd -- hsmctl'*) {answers} ;;
    *'exec accounts-'*) echo '{{"generationId":"{NEW}"}}' ;;
    *'exec auth-'*) echo '{{"status":"healthy","headId":"{NEW}"}}' ;;
    *rollout* | *'exec deployment/accounts'*) ;;
    *) echo "Error from server (NotFound)" >&2; exit 1 ;;
    esac"""


class OtherPlaces(unittest.TestCase):
    """Units and clusters, of which only the programs that reach them are played."""

    def test_the_redis_that_the_operator_names_is_the_only_one_asked(self):
        with programs(systemctl="exit 3", hsmctl=hsmctl(), redis_cli="echo OK", theirs="exit 1") as played:
            code, said = run("red-button", "--target", "systemd", "--yes", HSMD_REDIS_CLI="theirs -h redis", **played)
            asked = calls(played)
        self.assertEqual(code, 1, said)
        self.assertIn("done: tainted", said)
        self.assertIn("NOT done: published keys purged (begun)", said)
        self.assertIn("theirs -h redis -n 0 flushdb", asked)
        self.assertFalse([call for call in asked if call.startswith("redis-cli")], asked)

    def test_a_deployment_without_a_pod_that_runs_does_not_answer(self):
        kubectl = cluster("hsmd=1 auth=2 app=0 accounts=1", "accounts-1-a")
        with programs(kubectl=kubectl, redis_cli="echo OK") as played:
            code, said = run("red-button", "--target", "k8s", "--yes", HSMD_REDIS_CLI="redis-cli -h redis", **played)
        self.assertEqual(code, 1, said)
        self.assertIn("done: published keys purged", said)
        self.assertIn("new endorsed keys: auth (no answer)\n", said)
        kubectl = cluster("auth=2 accounts=1", "accounts-1-a auth-1-a auth-1-b")
        with programs(kubectl=kubectl, redis_cli="echo OK") as played:
            code, said = run("red-button", "--target", "k8s", "--yes", HSMD_REDIS_CLI="redis-cli -h redis", **played)
        self.assertEqual(code, 0, said)

    def test_only_deployments_that_are_there_are_restarted(self):
        kubectl = cluster("auth=2 accounts=1 keys=1", "")
        with programs(kubectl=kubectl, redis_cli='[[ $* == *scan* ]] || echo 0') as played:
            variables = played | {"HSMD_REDIS_CLI": "redis-cli -h redis"}
            code, said = run("purge-keys-and-roll-services", "--target", "k8s", "--yes", **variables)
            asked = calls(played)
        self.assertEqual(code, 0, said)
        self.assertIn("kubectl --namespace hsmd rollout restart deployment/auth deployment/accounts", asked)

    def test_what_reaches_another_redis_is_named(self):
        with programs(kubectl=cluster("auth=2", "")) as played:
            code, said = run("purge-keys-and-roll-services", "--target", "k8s", "--yes", **played)
        self.assertEqual(code, 1, said)
        self.assertRegex(said, "Redis 0 can't be listed .*HSMD_REDIS_CLI")
        self.assertIn("nothing was done", said)
        for script in ["red-button", "purge-keys-and-roll-services", "rotate-hsm-key"]:
            self.assertIn("HSMD_REDIS_CLI ", run(script, "--help")[1])

    def test_no_service_is_restarted_while_hsmd_does_not_sign(self):
        for generation, ends in (("", 1), (OLD, 0)):
            answer = status("degraded", generation, 'the token "a" is away', "b")
            with programs(kubectl=cluster("accounts=1", "", f"echo '{answer}'; exit 1")) as played:
                code, said = run("purge-keys-and-roll-services", "--target", "k8s", "--yes", **played)
                asked = calls(played)
            self.assertEqual(code, ends, said)
            self.assertEqual(any("rollout" in call for call in asked), ends == 0, asked)
            if ends:
                self.assertIn('does not sign, so new keys could not be endorsed: the token \\"a\\" is away\n', said)
                self.assertIn("nothing was done", said)

    def test_a_taint_whose_event_is_in_no_file_is_a_taint(self):
        for file, ends in (("/tmp/hsmd-taint.json", 0), (None, 1)):
            kubectl = cluster("accounts=1", "accounts-1-a", hsmctl(file) + f"; exit {ends}", "*'-- cat '*) echo '[the event]' ;;")
            with programs(kubectl=kubectl) as played:
                code, said = run("red-button", "--target", "k8s", "--yes", "--expected", OLD, **played)
                taint = next(call for call in calls(played) if " taint " in call)
            self.assertEqual(code, 0, said)
            self.assertIn("--event-file /tmp/", taint)
            self.assertIn("keep what it said above" if ends else "[the event]\n", said)

    def test_hsmd_alone_and_accounts_alone_need_neither_redis_nor_services(self):
        with programs(systemctl="exit 3", hsmctl=hsmctl(), redis_cli="exit 1") as played:
            for script in (["rotate-hsm-key"], ["red-button", "--yes"], ["red-button", "--yes", "--end-sessions"]):
                code, said = run(*script, "--target", "systemd", **played)
                self.assertEqual(code, 0, said)
                self.assertIn("no service runs here", said)
            code, said = run("purge-keys-and-roll-services", "--target", "systemd", "--yes", **played)
            self.assertEqual(code, 0, said)
            self.assertIn("there is nothing to purge", said)
        with programs(systemctl="[[ $* == *accounts ]]", hsmctl=hsmctl(), redis_cli="exit 1") as played:
            code, said = run("red-button", "--target", "systemd", "--yes", **played)
            self.assertFalse([call for call in calls(played) if call.startswith("redis-cli")])
        self.assertEqual(code, 1, said)
        self.assertIn("done: tainted\nNOT done: every service holds new endorsed keys (begun)", said)
        self.assertIn("keys: accounts (no answer)", said)

    def test_an_end_by_a_signal_says_what_was_done(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            # It answers when the signal is sent.
            waits = "touch reached; until [ -e sent ]; do :; done; echo OK"
            with self.subTest(signal=number), programs(systemctl="exit 3", hsmctl=hsmctl(), theirs=waits) as played:
                folder = pathlib.Path(played["PATH"].partition(":")[0])
                process = subprocess.Popen(
                    [ROOT / "scripts/red-button", "--target", "systemd", "--yes"],
                    env=os.environ | played | {"HSMD_REDIS_CLI": "theirs"}, stderr=subprocess.PIPE, text=True,
                )
                self.assertTrue(soon((folder / "reached").exists))
                process.send_signal(number)
                (folder / "sent").touch()
                said = process.communicate(timeout=60)[1]
                self.assertEqual(process.returncode, 128 + number, said)
                self.assertIn("done: tainted", said)
                self.assertIn("NOT done: published keys purged", said)
                self.assertIn(f"--expected {OLD}", said)


if __name__ == "__main__":
    unittest.main()
