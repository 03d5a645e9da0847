"""The operator's scripts on units and clusters, of which stubs take the place of the programs that reach them."""

import os
import signal
import subprocess
import time
import unittest

import files
from stubs import NEW, OLD, REDIS, ROOT, Scripts, calls, cluster, compact, folder, hsmctl, programs, run, soon, status, units

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# For a stub: it answers when the signal is sent.
REACHED = "touch reached; until [ -e sent ]; do :; done"


class OtherPlaces(Scripts):
    def test_the_redis_that_the_operator_names_is_the_only_one_asked(self):
        with programs(systemctl=units(), hsmctl=hsmctl(), redis_cli="echo OK", theirs="exit 1") as played:
            code, said = run("red-button", "--target", "systemd", "--yes", HSMD_REDIS_CLI="theirs -a a-password", **played)
            asked = calls(played)
        self.assertEqual(code, 1, said)
        self.assert_done("tainted", said)
        # The command that goes on reaches the same one, and says no word of how.
        self.assertRegex(said, rf"go on with: .* --expected {OLD} .*with the same HSMD_REDIS_CLI")
        self.assertNotIn("a-password", said)
        self.assertIn("NOT done: published keys purged (begun)", said)
        self.assertIn("theirs -a a-password -n 0 flushdb", asked)
        self.assertFalse([call for call in asked if call.startswith("redis-cli")], asked)

    def test_a_deployment_without_a_pod_that_runs_does_not_answer(self):
        kubectl = cluster("hsmd=1 auth=2 app=0 accounts=1", "accounts-1-a")
        with programs(kubectl=kubectl, redis_cli="echo OK") as played:
            code, said = run("red-button", "--target", "k8s", "--yes", HSMD_REDIS_CLI="redis-cli -h redis", **played)
        self.assertEqual(code, 1, said)
        self.assert_done("published keys purged", said)
        self.assertIn("new endorsed keys: auth (no answer)\n", said)
        kubectl = cluster("auth=2 accounts=1", "accounts-1-a auth-1-a auth-1-b")
        with programs(kubectl=kubectl, redis_cli="echo OK") as played:
            code, said = run("red-button", "--target", "k8s", "--yes", HSMD_REDIS_CLI="redis-cli -h redis", **played)
        self.assertEqual(code, 0, said)

    def test_only_deployments_that_are_there_are_restarted(self):
        kubectl = cluster("auth=2 accounts=1 keys=1", "accounts-1-a auth-1-a auth-1-b keys-1-a", hsmctl(generation=NEW))
        with programs(kubectl=kubectl, redis_cli=REDIS) as played:
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
        for generation, ends in (("", 1), (NEW, 0)):
            answer = status("degraded", generation, 'the token "a" is away', "b")
            with programs(kubectl=cluster("accounts=1", "accounts-1-a", f"echo '{answer}'; exit 1")) as played:
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
        with programs(systemctl=units(), hsmctl=hsmctl(), redis_cli="exit 1") as played:
            for script in (["rotate-hsm-key"], ["red-button", "--yes"], ["red-button", "--yes", "--end-sessions"]):
                code, said = run(*script, "--target", "systemd", **played)
                self.assertEqual(code, 0, said)
                self.assertIn("no service runs here", said)
            code, said = run("purge-keys-and-roll-services", "--target", "systemd", "--yes", **played)
            self.assertEqual(code, 0, said)
            self.assertIn("there is nothing to purge", said)
        with programs(systemctl=units("hsmd-accounts"), hsmctl=hsmctl(), redis_cli="exit 1") as played:
            code, said = run("red-button", "--target", "systemd", "--yes", **played)
            self.assertFalse([call for call in calls(played) if call.startswith("redis-cli")])
        self.assertEqual(code, 1, said)
        self.assertIn("\ndone: tainted\nNOT done: every service holds new endorsed keys (begun)", said)
        self.assertIn("keys: accounts (no answer)", said)

    def end_by(self, number, group=False, **bodies):
        """Ends a red button by a signal when a stub says that it is reached; that stub goes on afterwards."""
        with programs(systemctl=units(), **bodies) as played:
            process = subprocess.Popen(
                # What runs the tests in the background may ignore signals, and a shell can't undo that.
                ["env", "--default-signal=HUP,INT,TERM", ROOT / "scripts/red-button", "--target", "systemd", "--yes"],
                env=os.environ | played | {"HSMD_REDIS_CLI": "theirs"}, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )
            self.assertTrue(soon((folder(played) / "reached").exists))
            (os.killpg if group else os.kill)(process.pid, number)
            (folder(played) / "sent").touch()
            said = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 128 + number, said)
        self.assert_done("tainted", said)
        self.assertIn("NOT done: published keys purged", said)
        self.assertIn(f"--expected {OLD}", said)
        return said

    def test_an_end_by_a_signal_says_what_was_done(self):
        for number in SIGNALS:
            with self.subTest(signal=number):
                said = self.end_by(number, hsmctl=hsmctl(), theirs=f"{REACHED}; echo OK")
                self.assertIn("purged (begun)", said)

    def test_a_signal_waits_until_it_is_known_whether_the_key_is_tainted(self):
        # A terminal sends it to the script's whole process group.
        for number, group in [(number, group) for number in SIGNALS for group in (False, True)]:
            with self.subTest(signal=number, group=group):
                said = self.end_by(number, group, hsmctl=f"[[ $* != *taint* ]] || {{ {REACHED}; }}\n{hsmctl()}", theirs="echo OK")
                self.assertNotIn("begun", said)

    def test_a_taint_without_an_answer_is_not_called_undone(self):
        lost = f"""[[ $* != *taint* ]] || exit 69\n{hsmctl()}"""
        with programs(systemctl=units(), hsmctl=lost) as played:
            code, said = run("red-button", "--target", "systemd", "--yes", **played)
        self.assertEqual(code, 1, said)
        self.assertIn("NOT known to be done: tainted (begun)\n", said)

    def test_units_count_as_there_while_systemd_cannot_be_asked(self):
        without = 'echo "Failed to connect to bus: No such file or directory" >&2; exit 1'
        with programs(systemctl=without, hsmctl=hsmctl(), redis_cli=REDIS) as played:
            for script in (["rotate-hsm-key"], ["red-button", "--yes"], ["purge-keys-and-roll-services", "--yes"]):
                code, said = run(*script, "--target", "systemd", **played)
                self.assertEqual(code, 1, said)
                self.assertNotIn("no service runs here", said)

    def test_a_rolling_restart_leaves_out_what_does_not_run_and_nothing_else(self):
        for code, ends in ((3, 0), (4, 0), (1, 1)):
            with programs(systemctl=f"[[ $* == *is-active* ]] && exit {code}; exit 1") as played:
                done = files.run(ROOT / "systemd/rolling-restart", "hsmd-auth.service", env=os.environ | played)
            self.assertEqual(done.returncode != 0, ends != 0, done.stderr)

    def test_a_unit_that_was_not_restarted_is_named_and_its_keys_stay(self):
        systemctl = units("hsmd-app", enabled=["hsmd-auth"])
        for script in (["purge-keys-and-roll-services"], ["red-button", "--end-sessions"]):
            with programs(systemctl=systemctl, hsmctl=hsmctl(), redis_cli=REDIS) as played:
                code, said = run(*script, "--yes", "--target", "systemd", **played)
                asked = calls(played)
            self.assertEqual(code, 1, said)
            self.assertIn("hsmd-auth does not run, so it was not restarted", said)
            self.assertIn("NOT done: every service restarted with new keys (begun)\nNOT done: old keys purged", said)
            self.assertFalse([call for call in asked if "flushdb" in call], asked)

    def test_a_key_that_was_published_before_its_restart_is_purged(self):
        for script in (["purge-keys-and-roll-services"], ["red-button", "--end-sessions"]):
            # Published when the list has been made.
            kubectl = cluster("auth=1", "auth-1-a", hsmctl(generation=NEW), "*'rollout restart'*) echo 1AAIlate >>db0 ;;")
            with programs(kubectl=kubectl, redis_cli=REDIS) as played:
                (folder(played) / "db0").write_text("1AAIold\n")
                code, said = run(*script, "--yes", "--target", "k8s", HSMD_REDIS_CLI="redis-cli", **played)
                self.assertEqual(code, 0, said)
                self.assertEqual((folder(played) / "db0").read_text(), "")
                # Whether the listed one comes back is seen before everything is emptied.
                asked = [call.split()[3] for call in calls(played) if "-n 0" in call]
                self.assertEqual(asked, ["--scan", "del", "del", "flushdb"])

    def test_a_purge_ends_when_every_service_holds_published_keys(self):
        with programs(kubectl=cluster("auth=1", "", hsmctl(generation=NEW)), redis_cli=REDIS) as played:
            code, said = run("purge-keys-and-roll-services", "--yes", "--target", "k8s", HSMD_REDIS_CLI="redis-cli", **played)
        self.assertEqual(code, 1, said)
        self.assert_done("old keys purged", said)
        self.assertIn("NOT done: every service holds published keys (begun)", said)

    def test_a_command_whose_children_hold_the_pipe_is_not_waited_for(self):
        with programs(systemctl=units(), hsmctl=hsmctl(), theirs="sleep 100; echo OK") as played:
            begun = time.monotonic()
            code, said = run("red-button", "--target", "systemd", "--yes", HSMD_REDIS_CLI="theirs", **played)
        self.assertEqual(code, 1, said)
        self.assertIn("Redis 0 is not purged", said)
        self.assertLess(time.monotonic() - begun, 60)

    def test_a_cluster_without_services_is_one(self):
        more = "*'get deployment'*) ;;"
        with programs(kubectl=cluster("", "", more=more)) as played:
            for script in (["rotate-hsm-key"], ["red-button", "--yes"], ["purge-keys-and-roll-services", "--yes"]):
                code, said = run(*script, "--target", "k8s", **played)
                self.assertEqual(code, 0, said)
                self.assertIn("no service runs here", said)
        # Nor is there one in another namespace: there hsmd does not answer.
        with programs(kubectl=cluster("", "", "exit 1", more)) as played:
            code, said = run("purge-keys-and-roll-services", "--yes", "--target", "k8s", **played)
        self.assertEqual(code, 1, said)
        self.assertIn("hsmd does not answer", said)
        # A list that can't be had hides none.
        with programs(kubectl=cluster("", "", more="*'get deployments'*) exit 1 ;;")) as played:
            code, said = run("rotate-hsm-key", "--target", "k8s", **played)
        self.assertEqual(code, 1, said)
        self.assertIn("keys (no answer),auth (no answer),app (no answer),accounts (no answer)\n", said)

    def test_a_key_that_the_token_does_not_destroy_is_named(self):
        for destroyed in (True, False):
            with programs(systemctl=units(), hsmctl=hsmctl(destroyed=destroyed)) as played:
                code, said = run("rotate-hsm-key", "--target", "systemd", **played)
            self.assertEqual(code, 0, said)
            self.assertEqual("the old key is NOT destroyed" in said, not destroyed, said)

    def test_a_redis_that_cannot_be_asked_is_named(self):
        healthy = compact({"status": "healthy", "headId": NEW, "accessKey": "1AAIa"})
        kubectl = cluster("auth=1", "auth-1-a", more=f"*'exec auth-'*) echo '{healthy}' ;;")
        with programs(kubectl=kubectl) as played:
            code, said = run("rotate-hsm-key", "--target", "k8s", **played)
        self.assertEqual(code, 1, said)
        self.assertRegex(said, r"after \d+ s without new endorsed keys: auth-1-a \(Redis can't be asked; HSMD_REDIS_CLI ")


if __name__ == "__main__":
    unittest.main()
