"""Dashboard and alert rules: every expression parses, and names nothing that hsmd does not export."""

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
LABELS = {"namespace", "pod", "le", "method", "caller", "code", "ckr", "limit", "version"}


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


def dashboard_expressions():
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [entry["expr"] for entry in dashboard["annotations"]["list"]]
    return [text.replace("$__rate_interval", "5m").replace("$namespace", "hsmd") for text in expressions]


def rules():
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return group["rules"]


class Monitoring(unittest.TestCase):
    def test_every_expression_parses_and_names_what_is_exported(self):
        known = exported()
        self.assertIn("hsmd_requests_total", known)
        used = set()
        for expression in [*dashboard_expressions(), *(rule["expr"] for rule in rules())]:
            with self.subTest(expression):
                promql_parser.parse(expression)
                names = set(re.findall(r"\bhsmd_[a-z_]+", expression))
                self.assertTrue(names)
                self.assertLessEqual(names, known)
                used |= names
                labels = re.findall(r"[{,]\s*([a-z_]+)=", expression)
                for by in re.findall(r"\bby \(([^)]*)\)", expression):
                    labels += re.findall(r"[a-z_]+", by)
                self.assertLessEqual(set(labels), LABELS)
        # The other way round: nothing is exported that nobody looks at.
        base = lambda names: {re.sub("_(bucket|sum|count)$", "", name) for name in names}
        self.assertEqual(base(known) - base(used), set())

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
