"""Dashboards and alert rules: every expression parses, and names nothing that hsmd and the services do not export.

What the services export is in docs/metrics.md, which the fleet's tests keep; test_prometheus.py asks a real one.
"""

import json
import pathlib
import re
import tempfile
import unittest
import urllib.request

import promql_parser
import yaml

from files import BIN, ROOT, run
from test_supervision import Supervisor

MONITORING = ROOT / "k8s/monitoring"
# What Prometheus adds to a scrape's own labels, and what a histogram has.
LABELS = {"namespace", "job", "instance", "pod", "le", "method", "caller", "code", "ckr", "limit", "version", "route", "reason", "__name__"}
SERVICES = ["keys", "auth", "app", "accounts"]
ENDINGS = {"counter": [""], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}


def exported():
    """The names in a running daemon's /metrics."""
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(folder)
        port = supervisor.observe()
        process = supervisor.start()
        try:
            supervisor.wait_for("READY=1")
            # A metric with labels is there from its first use on: this is a refused call.
            run(BIN / "hsmctl", "log", env={"HSMD_ENDPOINT": f"unix://{folder}/service.sock"})
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        finally:
            process.kill()
            process.wait()
            supervisor.close()
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""], "info": ["_info"]}
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    # No token has failed here, so its errors are only known from where they are registered.
    registered = "".join(path.read_text() for path in (ROOT / "hsmd/src/observe").rglob("*.rs"))
    for name, kind in [("token_errors", "counter"), ("token_last_error_timestamp_seconds", "gauge")]:
        if f'"{name}"' in registered:
            types.append((f"hsmd_{name}", kind))
    return {name + ending for name, kind in types for ending in endings[kind]}


def of_the_services():
    """The names in docs/metrics.md: a table of what all have, and sentences."""
    text = (ROOT / "docs/metrics.md").read_text().partition("## The services")[2]
    names = set()
    for name, kind in re.findall(r"^\| `hsmd_SERVICE_([a-z0-9_]+)` \| ([a-z]+)", text, re.M):
        names |= {name + ending for ending in ENDINGS[kind]}
    everywhere = names | set(re.findall(r"(?<!\| )`hsmd_SERVICE_([a-z0-9_]+)`", text))
    own = re.findall(r"`([a-z0-9]+_[a-z0-9_]+)`", text.partition("accounts has, besides")[2])
    return {f"hsmd_{service}_{name}" for service in SERVICES for name in everywhere} | {f"hsmd_accounts_{name}" for name in own if not name.endswith("_")}


def dashboards():
    return [json.loads(path.read_text()) for path in sorted(MONITORING.glob("*.json"))]


def dashboard_expressions():
    found = dashboards()
    expressions = [target["expr"] for dashboard in found for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [entry["expr"] for dashboard in found for entry in dashboard["annotations"]["list"]]
    return [text.replace("$__rate_interval", "5m").replace("$namespace", "hsmd") for text in expressions]


def rules():
    return [rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def names_in(expression, known):
    """The metrics that an expression reads; one that is named by a pattern is every known one that fits."""
    names = set()
    for pattern in re.findall(r'__name__=~"([^"]*)"', expression):
        fitting = {name for name in known if re.fullmatch(pattern, name)}
        assert len(fitting) == pattern.count("|") + 1, (pattern, fitting)
        names |= fitting
    return names | set(re.findall(r"\bhsmd_[a-z0-9_]+", re.sub(r'__name__=~"[^"]*"', "", expression)))


class Monitoring(unittest.TestCase):
    def test_every_expression_parses_and_names_what_is_exported(self):
        known = exported() | of_the_services()
        self.assertIn("hsmd_requests_total", known)
        used = set()
        for expression in [*dashboard_expressions(), *(rule["expr"] for rule in rules())]:
            with self.subTest(expression):
                promql_parser.parse(expression)
                names = names_in(expression, known)
                self.assertTrue(names)
                self.assertLessEqual(names, known)
                used |= names
                labels = re.findall(r"[{,]\s*([a-z_]+)=", expression)
                for by in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
                    labels += re.findall(r"[a-z_]+", by)
                self.assertLessEqual(set(labels), LABELS)
        # The other way round: nothing is exported that nobody looks at.
        base = lambda names: {re.sub("_(bucket|sum|count)$", "", name) for name in names}
        self.assertEqual(base(known) - base(used), set())

    def test_panels_have_places_and_names_of_their_own(self):
        for dashboard in dashboards():
            taken = set()
            for panel in dashboard["panels"]:
                place = panel["gridPos"]
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken, panel["title"])
                self.assertLessEqual(place["x"] + place["w"], 24)
                taken |= cells
            for key in ["id", "title"]:
                self.assertEqual(len({panel[key] for panel in dashboard["panels"]}), len(dashboard["panels"]))
        self.assertEqual(len({dashboard["uid"] for dashboard in dashboards()}), 2)

    def test_a_mistake_would_be_found(self):
        with self.assertRaises(ValueError):
            promql_parser.parse("sum by (hsmd_ready")

    def test_alerts_say_what_they_mean(self):
        self.assertEqual(len({rule["alert"] for rule in rules()}), len(rules()))
        for rule in rules():
            self.assertIn(rule["labels"]["severity"], ("page", "ticket", "info"))
            self.assertTrue(rule["annotations"]["summary"])
            if "for" in rule:
                promql_parser.parse(f"hsmd_ready[{rule['for']}]")


if __name__ == "__main__":
    unittest.main()
