"""A play: a cluster, a pair, callers on both daemons, one fault; then one daemon that signs, a taint, and one
history. It prints what was measured."""

import contextlib
import pathlib
import shutil
import sys
import tempfile
import threading
import time

import history
from calls import Rotating, Signing, change
from cluster import Cluster
from pair import Pair
from processes import POSTGRES, until

# So many calls in a row say who signs and who does not.
ENOUGH = 5


class Play:
    """Entered with callers that are answered. `by_hosts` names the daemons whose URL names both members."""

    def __init__(self, test, synchronous, by_hosts=(), start_timeout=300):
        self.test, self.taints, self.paused = test, [], threading.Event()
        self.arguments = synchronous, start_timeout, by_hosts

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            synchronous, start_timeout, by_hosts = self.arguments
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hsmd-ha.", dir="/var/tmp"))
            stack.callback(shutil.rmtree, self.folder)
            self.folder.chmod(0o711)
            servers = self.folder / "servers"
            servers.mkdir()
            if POSTGRES:
                shutil.chown(servers, "postgres", "postgres")
            stack.push(self.tell)
            self.cluster = stack.enter_context(Cluster(servers, synchronous, start_timeout))
            self.pair = stack.enter_context(Pair(self.folder, self.cluster, by_hosts))
            self.signing = [Signing(daemon) for daemon in self.pair.daemons]
            self.rotating = [Rotating(daemon, self.paused) for daemon in self.pair.daemons]
            for each in self.signing + self.rotating:
                each.start()
                stack.callback(each.stop)
            until("the first daemon signs and rotates", lambda: all(
                len(each[0].good()) >= ENOUGH for each in (self.signing, self.rotating)
            ))  # fmt: skip
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def tell(self, kind, *_):
        """After a failure: the ends of the logs."""
        if kind is None:
            return
        for log in sorted(self.folder.glob("**/*log")):
            if log.is_file() and "data" not in str(log) and log.name != "etcd.log":
                lines = log.read_text(errors="replace").splitlines()[-60:]
                print(f"--- {log.name} of {log.parent.name}", *lines, sep="\n", file=sys.stderr)

    def signatures(self):
        """All of them, in the order in which they arrived."""
        return sorted((call for each in self.signing for call in each.good()), key=lambda call: call.ended)

    def rotations(self):
        return sorted((call for each in self.rotating for call in each.good()), key=lambda call: call.ended)

    def changes(self):
        """The rotations and taints that were answered."""
        return self.rotations() + self.taints

    def fault(self, pauses=False):
        """The moment of it. With `pauses` nothing is rotated from here until `paused` is cleared."""
        self.pauses = pauses
        if pauses:
            self.paused.set()
            until("the last rotation has ended", lambda: all(each.rests for each in self.rotating))
        self.at = time.monotonic()
        self.before = self.signatures()[-1].daemon

    def daemon_that_signs(self):
        name = self.signatures()[-1].daemon
        return next(daemon for daemon in self.pair.daemons if daemon.name == name)

    def settled(self):
        """Waits until exactly one daemon signs and rotates; returns it and the other."""
        since = time.monotonic()

        def one_signs():
            last = [[call.answer for call in each.since(since)[-ENOUGH:]] for each in self.signing]
            if any(len(each) < ENOUGH for each in last):
                return None
            signs = [all(each) for each in last]
            if sorted(signs) != [False, True] or any(last[signs.index(False)]):
                return None
            winner = signs.index(True)
            if not any(call.answer for call in self.rotating[winner].since(since)):
                return None
            return self.pair.daemons[winner], self.pair.daemons[1 - winner]

        return until("exactly one daemon signs and rotates", one_signs)

    def taint(self, daemon):
        """Taints the head; whether that was answered. A rotation in between is one reason against it."""
        tainted = change(daemon, "taint")
        if tainted.answer:
            self.taints.append(tainted)
        return bool(tainted.answer)

    def ends_well(self, what):
        """One daemon signs, the other refuses a taint, the one taints; the history is one and holds all."""
        signs, other = self.settled()
        ended = time.monotonic()
        self.test.assertFalse(self.taint(other), f"{other.name} taints beside {signs.name}")
        until(f"{signs.name}, which signs, taints", lambda: self.taint(signs))
        self.settled()
        self.measured(what, ended)
        history.one_history(self)

    def whole_again(self):
        """Patroni has two members again: still one daemon signs, and all copies say the same."""
        self.cluster.whole()
        self.settled()
        for each in self.signing + self.rotating:
            each.stop()

        def same():
            first, second = (member.sql(history.LOG, "hsmd") for member in self.cluster.members)
            return first and first == second

        until("the replica has it all", same)
        history.holds_all(self, history.one_history(self))

    def measured(self, what, ended):
        """Prints a row of the document's table."""
        signatures, rotations = self.signatures(), self.rotations()
        first = [call for call in signatures if call.daemon != self.before and call.began > self.at]
        taken = f"{first[0].ended - self.at:.0f} s" if first else "the same daemon"
        changes = sum(a.daemon != b.daemon for a, b in zip(signatures, signatures[1:]))
        self.test.assertLessEqual(changes, 4, "the daemons sign in turn")
        rotated = "not tried" if self.pauses else f"{longest(rotations, self.at, ended):.0f} s"
        row = (what, f"{longest(signatures, self.at, ended):.0f} s", taken, rotated)
        print("|", " | ".join(row), "|", file=sys.stderr, flush=True)


def longest(calls, began, ended):
    """The longest time without an answer between two moments."""
    moments = [call.ended for call in calls if began < call.ended < ended]
    return max(b - a for a, b in zip([began, *moments], [*moments, ended]))
