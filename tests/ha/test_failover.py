"""Real Patroni, etcd and HAProxy: what a pair of daemons does when the primary moves, dies, or lives on
beside a new one. Never two histories, and one daemon that signs, without a person.

Needs Debian's packages patroni, etcd-server and haproxy; starts nothing but processes of its own."""

import unittest

from play import Play
from processes import until


class Failover:
    """The plays, with and without synchronous replication."""

    def play(self, **arguments):
        return Play(self, self.synchronous, **arguments)

    def row(self, what):
        return f"{what}, {'synchronous' if self.synchronous else 'asynchronous'}"

    def test_a_switchover(self):
        with self.play() as play:
            play.fault()
            play.cluster.switch_over()
            play.ends_well(self.row("switchover"))
            play.whole_again()

    def test_a_killed_postgres_is_started_again(self):
        with self.play() as play:
            play.fault()
            play.cluster.leader().kill_postgres()
            play.ends_well(self.row("Postgres killed, started again in its place"))
            play.whole_again()

    def test_a_killed_postgres_is_replaced(self):
        """`primary_start_timeout: 0`: Patroni does not try the old one first."""
        with self.play(start_timeout=0) as play:
            play.fault()
            play.cluster.leader().kill_postgres()
            play.ends_well(self.row("Postgres killed, the replica promoted"))
            play.whole_again()

    def zombie(self, what, by_hosts=(), ends_with=None):
        """Patroni is killed, and its primary lives on beside the new one. The daemon that signs taints in the
        moment of the promotion.

        A daemon that stays with the old primary commits there what the new one lacks. Without synchronous
        replication only the newest of that is on the token, so there nothing but the taint is asked for."""
        with self.play(by_hosts=by_hosts) as play:
            old, new = play.cluster.leader(), play.cluster.members[1]
            play.fault(pauses=bool(by_hosts) and not self.synchronous)
            old.patroni.kill()
            until("the replica is promoted", new.takes_writes)
            play.taint(play.daemon_that_signs())
            self.assertTrue(old.takes_writes(), "the old primary lives on")
            if ends_with is not None:
                winner = play.pair.daemons[ends_with]
                until(f"{winner.name}, which goes to the new primary, serves", lambda: winner.state() == "serving")
            play.paused.clear()
            play.ends_well(self.row(what))
            self.assertTrue(old.takes_writes(), "the old primary lives on")
            old.start()
            play.whole_again()

    def test_a_zombie_behind_haproxy(self):
        self.zombie("Patroni killed, both daemons by HAProxy")

    def test_a_zombie_that_the_owner_stays_with(self):
        self.zombie("Patroni killed, the serving daemon by several hosts", by_hosts=("a",), ends_with=1)

    def test_a_zombie_that_the_standby_stays_with(self):
        self.zombie("Patroni killed, the waiting daemon by several hosts", by_hosts=("b",), ends_with=0)


class Synchronous(Failover, unittest.TestCase):
    synchronous = True


class Asynchronous(Failover, unittest.TestCase):
    synchronous = False


if __name__ == "__main__":
    unittest.main()
