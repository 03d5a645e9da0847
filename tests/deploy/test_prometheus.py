"""Dashboards and alert rules on a real Prometheus, which scrapes the development installation in HSMD_DEV with its
services. Debian's package `prometheus` has it."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import yaml

from files import ROOT
from test_monitoring import dashboards

ALERTS = ROOT / "k8s/monitoring/alerts.yaml"
# What has a series from the first error on only; the token of this installation has made none.
NO_ERRORS = {"Token errors", "Token's last errors"}
TARGETS = {
    "hsmd": ["HSMD_METRICS_URL"],
    "keys": ["HSMD_KEYS_URL"],
    "auth": ["HSMD_AUTH_URL", "HSMD_AUTH_2_URL"],
    "app": ["HSMD_APP_URL"],
    "accounts": ["HSMD_ACCOUNTS_URL", "HSMD_ACCOUNTS_2_URL"],
}
# A scrape a second; as Grafana's $__rate_interval, of four scrapes.
INTERVAL = "4s"


def until(what, seconds=60):
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, "nothing within a minute"
        time.sleep(0.2)
    return answer


def ask(url, body=None, **headers):
    """The status of a request, whatever it is."""
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"content-type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


class Prometheus:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        # The documented configuration, with the files and addresses that are here.
        configuration = yaml.safe_load((ROOT / "docs/metrics.md").read_text().split("```yaml\n")[1].split("```")[0])
        configuration |= {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(ALERTS)]}
        for job in configuration["scrape_configs"]:
            addresses = [os.environ[key] for key in TARGETS[job["job_name"]]]
            job["static_configs"][0]["targets"] = [urllib.parse.urlsplit(address).netloc for address in addresses]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]

    def start(self):
        command = [
            "prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ]
        with open(self.folder / "log", "w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def listens(self):
        with contextlib.suppress(OSError):
            return self.get("status/buildinfo")


def some_use():
    """A little of everything that is counted by labels."""
    subprocess.run(["hsmctl", "log"], check=True, capture_output=True)
    accounts = os.environ["HSMD_ACCOUNTS_URL"]
    origin = {"origin": os.environ["HSMD_ACCOUNTS_ORIGIN"]}
    for key in [key for keys in TARGETS.values() for key in keys]:
        ask(f"{os.environ[key]}/no-such-path")
    ask(f"{accounts}/api/auth/sign-in/email", {"email": "nobody@example.com", "password": "correct horse"}, **origin)
    ask(f"{accounts}/api/auth/list-sessions", **origin)


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.prometheus = Prometheus(folder)
        process = cls.prometheus.start()
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)
        until(cls.prometheus.listens)
        wanted = sum(map(len, TARGETS.values()))
        until(lambda: len(cls.prometheus.query("up == 1")) == wanted)

    def test_every_panel_shows_something(self):
        for dashboard in dashboards():
            for panel in dashboard["panels"]:
                for target in panel["targets"]:
                    expression = target["expr"].replace("$__rate_interval", INTERVAL).replace("$namespace", "hsmd")
                    with self.subTest(dashboard["title"], panel=panel["title"], expression=expression):
                        self.assertNotIn("$", expression)
                        if panel["title"] in NO_ERRORS:
                            self.prometheus.query(expression)
                        else:
                            until(lambda: some_use() or self.prometheus.query(expression))
            for entry in dashboard["annotations"]["list"]:
                self.prometheus.query(entry["expr"].replace("$namespace", "hsmd"))

    def test_each_service_is_one_job(self):
        ready = until(lambda: (found := self.prometheus.query('sum by (job) ({__name__=~"hsmd_(keys|auth|app|accounts)_ready"})'))
                      and len(found) == 4 and found)
        self.assertEqual({entry["metric"]["job"]: entry["value"][1] for entry in ready}, {"keys": "1", "auth": "2", "app": "1", "accounts": "2"})
        left = 'min by (job) ({__name__=~"hsmd_([a-z]+_)?certificate_expiry_timestamp_seconds"}) - time() > 86400'
        self.assertEqual({entry["metric"]["job"] for entry in self.prometheus.query(left)}, set(TARGETS))

    def test_every_rule_is_evaluated_and_no_page_is_due_while_all_is_well(self):
        evaluated = until(lambda: (found := self.prometheus.get("rules")["groups"])
                          and all(rule["health"] != "unknown" for group in found for rule in group["rules"]) and found)
        rules = [rule for group in evaluated for rule in group["rules"]]
        written = [rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
        self.assertEqual([rule["name"] for rule in rules], written)
        for rule in rules:
            self.assertEqual((rule["health"], rule.get("lastError")), ("ok", None), rule["name"])
            if rule["labels"]["severity"] == "page":
                self.assertEqual(rule["state"], "inactive", rule)


if __name__ == "__main__":
    unittest.main()
