"""Each alert rule, by promtool: it fires when it should, alone, and none fires while everything is well."""

import tempfile
import unittest

import yaml

from files import ROOT, run

ALERTS = ROOT / "k8s/monitoring/alerts.yaml"
# A sample a minute; looked at after so many.
MINUTES = 60
DAY = 86400

HSMD = 'namespace="hsmd",job="hsmd",instance="hsmd:9464"'


def service(name, replica="a"):
    return f'namespace="hsmd",job="{name}",instance="{name}-{replica}"'


def well():
    """The series of an installation where everything is well, in promtool's notation."""
    series = {
        f"hsmd_ready{{{HSMD}}}": "1x60",
        f"hsmd_last_good_signature_timestamp_seconds{{{HSMD}}}": "0+60x60",
        f"hsmd_standby{{{HSMD}}}": "0x60",
        f"hsmd_database_connected{{{HSMD}}}": "1x60",
        f"hsmd_lock_held{{{HSMD}}}": "1x60",
        f"hsmd_config_current{{{HSMD}}}": "1x60",
        f"hsmd_token_owned{{{HSMD}}}": "1x60",
        f"hsmd_keys_not_destroyed{{{HSMD}}}": "0x60",
        f"hsmd_next_key_usable{{{HSMD}}}": "1x60",
        f"hsmd_event_pending{{{HSMD}}}": "0x60",
        f"hsmd_queue_depth{{{HSMD}}}": "3x60",
        f"hsmd_head_age_seconds{{{HSMD}}}": "3600+60x60",
        f"hsmd_active_sequence_number{{{HSMD}}}": "7x60",
        f"hsmd_certificate_start_timestamp_seconds{{{HSMD}}}": f"{-30 * DAY}x60",
        f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": f"{60 * DAY}x60",
        f"hsmd_audit_records_lost_total{{{HSMD}}}": "0x60",
        f"hsmd_token_recoveries_total{{{HSMD}}}": "1x60",
        f'hsmd_limit_refusals_total{{{HSMD},limit="connections"}}': "4x60",
        # A refused address of an unknown peer is none of the callers' limits.
        f'hsmd_limit_refusals_total{{{HSMD},limit="unknown_connections"}}': "0+60x60",
        f'hsmd_requests_total{{{HSMD},caller="auth",code="PermissionDenied"}}': "2x60",
        f'hsmd_token_errors_total{{{HSMD},ckr="CKR_DEVICE_ERROR"}}': "5x60",
        f'hsmd_hsm_seconds_bucket{{{HSMD},le="0.016"}}': "0+60x60",
        f'hsmd_hsm_seconds_bucket{{{HSMD},le="1.024"}}': "0+60x60",
        f'hsmd_hsm_seconds_bucket{{{HSMD},le="+Inf"}}': "0+60x60",
    }
    for name in ["keys", "auth", "app", "accounts"]:
        for replica in "ab":
            labels = service(name, replica)
            series |= {
                f"hsmd_{name}_ready{{{labels}}}": "1x60",
                f"hsmd_{name}_certificate_start_timestamp_seconds{{{labels}}}": f"{-30 * DAY}x60",
                f"hsmd_{name}_certificate_expiry_timestamp_seconds{{{labels}}}": f"{60 * DAY}x60",
                f'hsmd_{name}_http_requests_total{{{labels},route="/",code="200"}}': "0+600x60",
                f'hsmd_{name}_http_requests_total{{{labels},route="/",code="503"}}': "0+6x60",
                f'hsmd_{name}_http_requests_total{{{labels},route="/",code="429"}}': "0+6x60",
                f'hsmd_{name}_http_request_seconds_bucket{{{labels},le="0.064"}}': "0+600x60",
                f'hsmd_{name}_http_request_seconds_bucket{{{labels},le="4.096"}}': "0+600x60",
                f'hsmd_{name}_http_request_seconds_bucket{{{labels},le="+Inf"}}': "0+600x60",
            }
    accounts = service("accounts")
    return series | {
        f"hsmd_accounts_passwords_refused_total{{{accounts}}}": "9x60",
        f"hsmd_accounts_requests_limited_total{{{accounts}}}": "0+6x60",
        f"hsmd_accounts_mails_lost_total{{{accounts}}}": "1x60",
        f'hsmd_accounts_sessions_refused_total{{{accounts},reason="origin"}}': "0+1x60",
        f'hsmd_accounts_sessions_refused_total{{{accounts},reason="no cookie"}}': "0+6000x60",
    }


def both(name, metric, values):
    return {f"hsmd_{name}_{metric}{{{service(name, replica)}}}": values for replica in "ab"}


STANDBY = 'namespace="hsmd",job="hsmd",instance="standby:9464"'
ELSEWHERE = 'namespace="elsewhere",job="hsmd",instance="elsewhere:9464"'
# What differs from `well`, and the alerts that fire then. None in place of values: the series is not there.
CASES = [
    ({f"hsmd_ready{{{HSMD}}}": None}, {"HsmdAbsent"}),
    ({f"hsmd_ready{{{HSMD}}}": "1x9 stale"}, {"HsmdAbsent"}),
    # Of two namespaces one is lost.
    ({f"hsmd_ready{{{ELSEWHERE}}}": "1x9 stale"}, {"HsmdAbsent"}),
    ({f"hsmd_ready{{{ELSEWHERE}}}": "1x60"}, set()),
    ({f"hsmd_ready{{{HSMD}}}": "0x60"}, {"HsmdNotReady"}),
    # Of a pair one is ready: that is what it should be.
    ({f"hsmd_ready{{{STANDBY}}}": "0x60", f"hsmd_standby{{{STANDBY}}}": "1x60", f"hsmd_lock_held{{{STANDBY}}}": "0x60",
      f"hsmd_database_connected{{{STANDBY}}}": "1x60", f"hsmd_token_owned{{{STANDBY}}}": "0x60",
      f"hsmd_last_good_signature_timestamp_seconds{{{STANDBY}}}": "0x60"}, set()),
    ({f"hsmd_standby{{{STANDBY}}}": "0x60"}, {"HsmdNoStandby"}),
    # A standby that is down has no series.
    ({f"hsmd_standby{{{STANDBY}}}": "1x9 stale"}, {"HsmdNoStandby"}),
    # A takeover: the standby serves, the other daemon stands by.
    ({f"hsmd_standby{{{HSMD}}}": "0x9 1x50", f"hsmd_standby{{{STANDBY}}}": "1x9 0x50"}, set()),
    # A daemon alone that was started again under another name.
    ({f"hsmd_standby{{{STANDBY}}}": "0x9 stale"}, set()),
    ({f"hsmd_lock_held{{{STANDBY}}}": "1x60"}, {"HsmdSeveralWriters"}),
    ({f"hsmd_last_good_signature_timestamp_seconds{{{HSMD}}}": "0x60"}, {"HsmdSignatureOld"}),
    ({f"hsmd_database_connected{{{HSMD}}}": "0x60"}, {"HsmdDatabaseDown"}),
    ({f"hsmd_lock_held{{{HSMD}}}": "0x60"}, {"HsmdLockLost"}),
    ({f"hsmd_config_current{{{HSMD}}}": "0x60"}, {"HsmdConfigNotCurrent"}),
    ({f"hsmd_token_owned{{{HSMD}}}": "0x60"}, {"HsmdTokenNotOwned"}),
    ({f'hsmd_token_errors_total{{{HSMD},ckr="CKR_DEVICE_ERROR"}}': "0+2x60"}, {"HsmdTokenErrors"}),
    ({f"hsmd_token_recoveries_total{{{HSMD}}}": "0+1x60"}, {"HsmdTokenRecovers"}),
    ({f"hsmd_keys_not_destroyed{{{HSMD}}}": "1x60"}, {"HsmdKeyNotDestroyed"}),
    ({f"hsmd_next_key_usable{{{HSMD}}}": "0x60"}, {"HsmdNextKeyMissing"}),
    ({f"hsmd_event_pending{{{HSMD}}}": "1x60"}, {"HsmdEventPending"}),
    ({f"hsmd_queue_depth{{{HSMD}}}": "5000x60"}, {"HsmdQueueFills"}),
    ({f'hsmd_hsm_seconds_bucket{{{HSMD},le="0.016"}}': "0+50x60"}, {"HsmdSlowToken"}),
    ({f'hsmd_requests_total{{{HSMD},caller="auth",code="PermissionDenied"}}': "0+2x60"}, {"HsmdRefusals"}),
    ({f"hsmd_audit_records_lost_total{{{HSMD}}}": "0+1x60"}, {"HsmdAuditRecordsLost"}),
    ({f'hsmd_limit_refusals_total{{{HSMD},limit="connections"}}': "0+1x60"}, {"HsmdLimitUsedUp"}),
    ({f"hsmd_head_age_seconds{{{HSMD}}}": f"{91 * DAY}x60"}, {"HsmdHeadOld"}),
    ({f"hsmd_active_sequence_number{{{HSMD}}}": "7x55 8x5"}, {"HsmdRotated"}),
    # By the share of the lifetime: a third left of 90 days is well, and of a day, too.
    ({f"hsmd_certificate_start_timestamp_seconds{{{HSMD}}}": f"{-60 * DAY}x60",
      f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": f"{30 * DAY}x60"}, set()),
    ({f"hsmd_certificate_start_timestamp_seconds{{{HSMD}}}": f"{-DAY // 3}x60",
      f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": f"{DAY // 3}x60"}, set()),
    ({f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": f"{9 * DAY}x60"}, {"HsmdCertificateExpires"}),
    ({f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": f"{DAY}x60"}, {"HsmdCertificateExpires", "HsmdCertificateEnds"}),
    ({f"hsmd_certificate_start_timestamp_seconds{{{HSMD}}}": "0x60",  # No TLS.
      f"hsmd_certificate_expiry_timestamp_seconds{{{HSMD}}}": "0x60"}, set()),
    (both("auth", "ready", "1x9 stale"), {"HsmdServiceGone"}),
    # Never installed is not gone.
    (both("auth", "ready", None), set()),
    (both("auth", "ready", "0x60"), {"HsmdServiceNotReady", "HsmdServiceReplicaNotReady"}),
    ({f"hsmd_app_ready{{{service('app', 'b')}}}": "0x60"}, {"HsmdServiceReplicaNotReady"}),
    ({f'hsmd_keys_http_requests_total{{{service("keys")},route="/",code="503"}}': "0+600x60"}, {"HsmdServiceErrors"}),
    ({f'hsmd_app_http_request_seconds_bucket{{{service("app")},le="0.064"}}': "0+300x60"}, {"HsmdServiceSlow"}),
    ({f'hsmd_auth_http_requests_total{{{service("auth")},route="/",code="429"}}': "0+120x60"}, {"HsmdServiceLimits"}),
    ({f"hsmd_app_certificate_expiry_timestamp_seconds{{{service('app')}}}": f"{9 * DAY}x60"}, {"HsmdServiceCertificateExpires"}),
    ({f"hsmd_app_certificate_expiry_timestamp_seconds{{{service('app')}}}": "0x60"},
     {"HsmdServiceCertificateExpires", "HsmdServiceCertificateEnds"}),
    # A service on the Unix socket has none.
    ({f"hsmd_app_certificate_{edge}_timestamp_seconds{{{service('app', replica)}}}": None
      for edge in ["start", "expiry"] for replica in "ab"}, set()),
    ({f"hsmd_accounts_passwords_refused_total{{{service('accounts')}}}": "0+1x60"}, {"HsmdAccountsPasswordsRefused"}),
    ({f"hsmd_accounts_requests_limited_total{{{service('accounts')}}}": "0+90x60"}, {"HsmdAccountsLimits"}),
    ({f"hsmd_accounts_mails_lost_total{{{service('accounts')}}}": "0+1x60"}, {"HsmdAccountsMailsLost"}),
    ({f'hsmd_accounts_sessions_refused_total{{{service("accounts")},reason="origin"}}': "0+9x60"}, {"HsmdAccountsForeignOrigins"}),
]


def group(changes, firing):
    series = {name: values for name, values in (well() | changes).items() if values is not None}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)],
        }],
    }


class Alerts(unittest.TestCase):
    def test_promtool_accepts_the_rules(self):
        checked = run("promtool", "check", "rules", "--lint=all", ALERTS)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_each_rule_fires_when_it_should_and_only_then(self):
        groups = yaml.safe_load(ALERTS.read_text())["groups"]
        rules = {rule["alert"] for of in groups for rule in of["rules"]}
        self.assertEqual(set().union(*(firing for _, firing in CASES)), rules)
        for changes, _ in CASES:
            # A series that is misspelt would change nothing.
            self.assertTrue(all(name in well() or STANDBY in name or ELSEWHERE in name for name in changes), changes)
        answer = self.promtool([group({}, set()), *(group(*case) for case in CASES)])
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_a_rule_that_does_not_fire_would_be_found(self):
        answer = self.promtool([group({}, {"HsmdNotReady"})])
        self.assertNotEqual(answer.returncode, 0)
        self.assertIn("HsmdNotReady", answer.stdout + answer.stderr)

    def promtool(self, tests):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}, file)
            file.flush()
            return run("promtool", "test", "rules", file.name, timeout=900)


if __name__ == "__main__":
    unittest.main()
