"""The operator's scripts while a part is away, those of these pairs that test_scripts.py has not: the exit code, what was
said, and what was done. On the development installation in HSMD_DEV with its services.
"""

import contextlib
import subprocess
import tempfile
import unittest

from stubs import ROOT, Scripts, run
from test_scripts import events, pid, publisher, redis, stopped

SCRIPTS = {"rotate-hsm-key": [], "red-button": ["--yes"], "purge-keys-and-roll-services": ["--yes"]}


@contextlib.contextmanager
def without_postgres():
    def act(what):
        script = f'. "{ROOT}/scripts/lib.sh"; . "{ROOT}/scripts/postgres.sh"; find_place; {what}'
        subprocess.run(["bash", "-c", script], check=True, capture_output=True)

    act("postgres_down")
    try:
        yield
    finally:
        act("postgres_up")


def published():
    return {key for database in "01" for key in redis("-n", database, "--scan", "--pattern", "1AAI*").splitlines()}


class Outages(Scripts):
    @classmethod
    def setUpClass(cls):
        # A taint without the database leaves its event where it was asked for.
        cls.enterClassContext(contextlib.chdir(cls.enterClassContext(tempfile.TemporaryDirectory())))

    def tearDown(self):
        subprocess.run([ROOT / "scripts/dev", "up", "--all"], check=True, capture_output=True)

    def act(self, script, code, *more):
        got, said = run(script, *SCRIPTS[script], *more)
        self.assertEqual(got, code, said)
        return said

    def test_nothing_is_rotated_while_hsmd_is_away(self):
        before = events()
        with stopped("hsmd"):
            said = self.act("rotate-hsm-key", 1)
        self.assertIn("hsmd does not answer", said)
        self.assertIn("nothing was done", said)
        self.assertEqual(events(), before)

    def test_a_rotation_without_redis_names_what_waits(self):
        before = events()
        with stopped("redis"):
            said = self.act("rotate-hsm-key", 1)
        self.assertEqual(len(events()), len(before) + 1)
        self.assert_done("rotated", said)
        self.assertIn("NOT done: every service holds keys endorsed by the new one", said)
        self.assertIn(f"--expected {before[-1]['id']}", said)
        for name in ["auth-1", "auth-2", "app"]:
            self.assertIn(f"{name} (", said)

    def test_nothing_is_rotated_without_postgres(self):
        before = events()
        with without_postgres():
            said = self.act("rotate-hsm-key", 1)
        self.assertIn("hsmctl rotate failed", said)
        self.assertIn("NOT known to be done: rotated (begun)", said)
        self.assertEqual(events(), before)

    def test_the_red_button_taints_without_postgres_and_names_what_waits(self):
        before = events()
        with without_postgres():
            said = self.act("red-button", 1)
            tainted = events()
        self.assertEqual(len(tainted), len(before) + 1)
        self.assertTrue(tainted[-1]["taintPrevious"])
        self.assertRegex(said, r"keep it until .*\n.*/hsmd-taint-[0-9]+\.json\n")
        self.assert_done("tainted", said)
        self.assert_done("published keys purged", said)
        self.assertIn("NOT done: every service holds new endorsed keys", said)
        for name in ["auth-1", "auth-2"]:
            self.assertIn(f"{name} (not healthy)", said)
        # Postgres is back: the same command goes on, and taints nothing twice.
        code, said = run("red-button", "--yes", "--expected", before[-1]["id"])
        self.assertEqual(code, 0, said)
        self.assertEqual(events(), tainted)

    def test_a_taint_without_postgres_where_no_file_can_be_written_is_a_taint(self):
        before = events()
        # Not even root can write there.
        with contextlib.chdir("/proc"), without_postgres():
            said = self.act("red-button", 1)
        self.assertEqual(len(events()), len(before) + 1)
        self.assert_done("tainted", said)
        self.assert_done("published keys purged", said)
        self.assertIn("keep what it said above", said)
        self.assertIn('[{"payload":', said)

    def test_sessions_are_ended_only_behind_a_taint_that_hsmd_makes(self):
        before = events()
        with stopped("hsmd"):
            said = self.act("red-button", 1, "--end-sessions")
        self.assertIn("nothing was done", said)
        self.assertEqual(events(), before)

    def test_without_redis_the_taint_is_made_and_no_service_restarted(self):
        before, processes = events(), [pid("auth-1"), pid("auth-2")]
        with stopped("redis"):
            said = self.act("red-button", 1, "--end-sessions")
        self.assertEqual(len(events()), len(before) + 1)
        self.assert_done("tainted", said)
        for what in ("every service restarted with new keys", "old keys purged", "accounts' sessions ended"):
            self.assertIn(f"NOT done: {what}", said)
        self.assertRegex(said, f"--expected {before[-1]['id']} --end-sessions")
        self.assertEqual([pid("auth-1"), pid("auth-2")], processes)

    def test_without_postgres_the_taint_is_made_and_the_first_service_that_waits_is_named(self):
        before, old = events(), published()
        with without_postgres():
            said = self.act("red-button", 1, "--end-sessions")
        self.assertEqual(len(events()), len(before) + 1)
        self.assert_done("tainted", said)
        self.assertIn("auth-1", said)
        for what in ("every service restarted with new keys", "old keys purged", "accounts' sessions ended"):
            self.assertIn(f"NOT done: {what}", said)
        self.assertTrue(old & published())

    def test_ending_the_sessions_replaces_a_service_that_does_not_answer(self):
        old, process = published(), pid("auth-2")
        with stopped("auth-2"):
            said = self.act("red-button", 0, "--end-sessions")
        self.assertNotIn("NOT done", said)
        self.assertNotEqual(pid("auth-2"), process)
        new = published()
        self.assertTrue(old and new and not old & new)

    def test_a_publisher_that_is_not_known_keeps_sessions_from_being_ended_unsaid(self):
        with publisher("1AAIforeign"):
            said = self.act("red-button", 1, "--end-sessions")
        self.assertIn("1AAIforeign", said)
        self.assert_done("tainted", said)
        for what in ("old keys purged", "accounts' signing keys withdrawn", "accounts' sessions ended"):
            self.assertIn(f"NOT done: {what}", said)

    def test_a_purge_without_postgres_stops_at_the_first_service_and_says_that_old_keys_are_valid(self):
        second, old = pid("auth-2"), published()
        with without_postgres():
            said = self.act("purge-keys-and-roll-services", 1)
        self.assertIn("NOT done: old keys purged", said)
        self.assertIn("Old keys are valid until they are purged", said)
        self.assertEqual(pid("auth-2"), second)
        self.assertTrue(old & published())

    def test_a_purge_replaces_a_service_that_does_not_answer(self):
        old, process = published(), pid("auth-2")
        with stopped("auth-2"):
            said = self.act("purge-keys-and-roll-services", 0)
        self.assertNotIn("NOT done", said)
        self.assertNotEqual(pid("auth-2"), process)
        new = published()
        self.assertTrue(old and new and not old & new)

    def test_a_publisher_that_is_not_known_keeps_neither_a_rotation_nor_a_taint_waiting(self):
        redis("-n", "1", "set", "1AAIforeign", '{"body":{"payload":{"purpose":"response"}}}')
        try:
            self.act("rotate-hsm-key", 0)
            self.assertIn("1AAIforeign", published())
            self.act("red-button", 0)
            self.assertNotIn("1AAIforeign", published())
        finally:
            redis("-n", "1", "del", "1AAIforeign")


if __name__ == "__main__":
    unittest.main()
