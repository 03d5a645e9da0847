"""The Helm chart, rendered by the real helm: valid, restricted, and the same as the prod overlay."""

import copy
import json
import shutil
import tempfile
import unittest

import kubernetes_validate
import yaml

import helm
import kustomize
from files import ROOT, run

# What an operator may set, each rendered and checked.
VARIANTS = {
    "default": [],
    "standby": ["hsmd.standby=true"],
    "ceremony": ["ceremony.enabled=true"],
    "import": ["ceremony.enabled=true", "ceremony.command={import,/run/copy/log.json}", "ceremony.copy=hsmd-copy", "hsmd.existingConfigMap=hsmd-ceremony"],
    "trial": ["ceremony.enabled=true", "hsmd.existingConfigMap=hsmd-ceremony", "ceremony.command={check,--try}"],
    "import for a pair": ["hsmd.standby=true", "ceremony.enabled=true", "ceremony.command={import,/run/copy/log.json}", "ceremony.copy=hsmd-copy",
                          "ceremony.volume=state-hsmd-0"],
    "migration": ["ceremony.enabled=true", "ceremony.command={migrate,--wait,10m}"],
    "monitoring": ["monitoring.serviceMonitor=true", "monitoring.prometheusRule=true", "monitoring.dashboard=true"],
    "daemon alone": ["services.keys.enabled=false", "services.auth.enabled=false", "services.app.enabled=false", "services.accounts.enabled=false"],
    "accounts alone": ["services.keys.enabled=false", "services.auth.enabled=false", "services.app.enabled=false", "services.accounts.secret="],
    "callers": ["networkPolicy.callers[0].podSelector.matchLabels.a=b", "networkPolicy.accountsCallers[0].podSelector.matchLabels.c=d"],
    "a device": ["hsmd.module.secret=", "hsmd.module.hostDevice=/dev/tpmrm0", "hsmd.module.env.TPM2_PKCS11_STORE=/var/lib/hsmd/tpm2"],
    "a plugin": ["hsmd.module.resources.limits.example\\.com/tpm=1", "hsmd.nodeSelector.tpm=yes", "ceremony.enabled=true"],
    "a plugin for a daemon": ["hsmd.module.resources.limits.example\\.com/tpm=1", "hsmd.nodeSelector.tpm=yes"],
    "digests": ["image.hsmd.digest=sha256:" + "0" * 64],
    "own configuration": ["hsmd.config=identity", "services.auth.config=x"],
    "own names": ["services.auth.existingConfigMap=a-config", "services.auth.secrets.tls.name=a-tls",
                  "services.auth.secrets.database.name=a-database", "services.auth.secrets.ingress.name=a-ingress"],
}
# Kinds of the Prometheus operator, for which there is no schema here.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def render(variant):
    return helm.template(*[word for value in VARIANTS[variant] for word in ("--set", value)])


class Chart(unittest.TestCase):
    def test_lint(self):
        answer = helm.helm("lint", "--strict", helm.CHART)
        self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)

    def test_every_variant_is_valid_and_restricted(self):
        for variant in VARIANTS:
            names = set()
            for resource in render(variant):
                with self.subTest(variant=variant, kind=resource["kind"], name=resource["metadata"]["name"]):
                    self.check(variant, resource)
                    name = (resource["kind"], resource["metadata"]["name"])
                    self.assertNotIn(name, names)
                    names.add(name)

    def check(self, variant, resource):
        self.assertEqual(resource["metadata"]["namespace"], "hsmd")
        if resource["kind"] not in FOREIGN:
            kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
        spec = kustomize.pod(resource)
        if not spec:
            return
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        paths = [volume for volume in spec.get("volumes", []) if "hostPath" in volume]
        self.assertEqual(bool(paths), variant == "a device" and resource["metadata"]["name"] == "hsmd")
        for container in kustomize.containers(resource):
            own = container["securityContext"]
            self.assertFalse(own["allowPrivilegeEscalation"])
            self.assertTrue(own["readOnlyRootFilesystem"])
            self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
            self.assertIn("memory", container["resources"]["limits"])
        mounted = {m["name"] for c in kustomize.containers(resource) for m in c.get("volumeMounts", [])}
        claimed = {c["metadata"]["name"] for c in resource["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in spec.get("volumes", [])} | claimed
        self.assertEqual(mounted, volumes)

    def test_the_real_kustomize_builds_the_overlays(self):
        for folder in ["base", "overlays/prod", "overlays/prod/ceremony"]:
            theirs = self.built(ROOT / "k8s" / folder)
            self.assertEqual(len(theirs), len(kustomize.build(ROOT / "k8s" / folder)))
        # With secrets, which are made first, in a copy.
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ROOT / "k8s", f"{folder}/k8s", symlinks=True)
            overlay = f"{folder}/k8s/overlays/dev"
            made = run(f"{overlay}/make-secrets")
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertIn("postgres", {resource["metadata"]["name"] for resource in self.built(overlay)})

    def built(self, folder):
        built = helm.run("kubectl", "kustomize", folder)
        self.assertEqual(built.returncode, 0, built.stderr)
        return [document for document in yaml.safe_load_all(built.stdout) if document]

    def test_it_is_what_the_prod_overlay_is(self):
        """One of them can't change without the other."""
        chart = by_name(render("default"))
        overlay = by_name(kustomize.build(ROOT / "k8s/overlays/prod"))
        theirs = {name for name in overlay if name[0] not in ("ConfigMap", "Namespace")}
        self.assertEqual(set(chart), theirs)
        for name in sorted(theirs):
            with self.subTest(name=name):
                self.assertEqual(plain(chart[name]), plain(overlay[name]))

    def test_a_pair_has_two_journals_and_a_lone_daemon_is_never_doubled(self):
        lone = by_name(render("default"))[("Deployment", "hsmd")]["spec"]
        self.assertEqual((lone["replicas"], lone["strategy"]), (1, {"type": "Recreate"}))
        pair = by_name(render("standby"))
        self.assertNotIn(("Deployment", "hsmd"), pair)
        spec = pair[("StatefulSet", "hsmd")]["spec"]
        self.assertEqual(spec["replicas"], 2)
        self.assertEqual([c["metadata"]["name"] for c in spec["volumeClaimTemplates"]], ["state"])

    def test_a_pair_can_be_upgraded_and_drained(self):
        """A standby is never ready: nothing waits for it, and no budget counts it."""
        pair = by_name(render("standby"))
        self.assertEqual(pair[("StatefulSet", "hsmd")]["spec"]["updateStrategy"], {"type": "OnDelete"})
        self.assertNotIn(("PodDisruptionBudget", "hsmd"), pair)
        lone = by_name(render("default"))[("PodDisruptionBudget", "hsmd")]["spec"]
        self.assertEqual(lone["maxUnavailable"], 0)

    def test_a_job_for_a_pair_has_the_journal_of_one_of_its_pods(self):
        resources = by_name(render("import for a pair"))
        volumes = resources[("Job", "hsmd-import")]["spec"]["template"]["spec"]["volumes"]
        (state,) = [volume for volume in volumes if volume["name"] == "state"]
        # As the StatefulSet's controller names it.
        self.assertEqual(state["persistentVolumeClaim"]["claimName"], "state-hsmd-0")
        self.assertNotIn("PersistentVolumeClaim", {kind for kind, _ in resources})

    def test_what_uses_the_token_runs_where_it_is_and_has_its_device(self):
        job = by_name(render("a plugin"))[("Job", "hsmd-init")]["spec"]["template"]["spec"]
        daemon = by_name(render("a plugin for a daemon"))[("Deployment", "hsmd")]["spec"]["template"]["spec"]
        having = set()
        for spec in (job, daemon):
            self.assertEqual(spec["nodeSelector"], {"tpm": "yes"})
            for container in spec.get("initContainers", []) + spec["containers"]:
                limits = container["resources"]["limits"]
                self.assertIn("memory", limits)
                if "example.com/tpm" in limits:
                    having.add(container["name"])
        self.assertEqual(having, {"init", "check", "hsmd"})

    def test_a_services_secrets_and_configuration_may_have_other_names(self):
        resources = by_name(render("own names"))
        volumes = {v["name"]: v for v in resources[("Deployment", "auth")]["spec"]["template"]["spec"]["volumes"]}
        self.assertEqual(volumes["config"]["configMap"]["name"], "a-config")
        self.assertEqual(volumes["tls"]["secret"]["secretName"], "a-tls")
        self.assertEqual(volumes["database"]["secret"]["secretName"], "a-database")
        self.assertEqual(resources[("Ingress", "auth")]["spec"]["tls"][0]["secretName"], "a-ingress")

    def test_the_ceremony_runs_without_a_daemon_on_its_volume(self):
        resources = by_name(render("ceremony"))
        self.assertNotIn(("Deployment", "hsmd"), resources)
        job = resources[("Job", "hsmd-init")]["spec"]
        self.assertEqual(job["backoffLimit"], 0)
        self.assertEqual([c["args"][-1] for c in job["template"]["spec"]["containers"]], ["init"])
        self.assertIn(("PersistentVolumeClaim", "hsmd-state"), resources)

    def test_a_migration_alone_sees_the_owner_of_the_schema(self):
        spec = by_name(render("migration"))[("Job", "hsmd-migrate")]["spec"]["template"]["spec"]
        self.assertNotIn("initContainers", spec)
        (container,) = spec["containers"]
        self.assertEqual(container["args"][2:], ["migrate", "--wait", "10m"])
        self.assertIn("database-owner", [mount["name"] for mount in container["volumeMounts"]])
        for name in ["ceremony", "import"]:
            (job,) = [r for r in render(name) if r["kind"] == "Job"]
            (container,) = job["spec"]["template"]["spec"]["containers"]
            self.assertNotIn("database-owner", [mount["name"] for mount in container["volumeMounts"]])

    def test_other_commands_run_as_the_ceremony_does(self):
        for variant, job in [("import", "import"), ("trial", "check")]:
            resources = by_name(render(variant))
            self.assertNotIn(("Deployment", "hsmd"), resources)
            folder = ROOT / f"k8s/overlays/prod/jobs/{job}"
            overlay = by_name(kustomize.build(folder))[("Job", f"hsmd-{job}")]
            # And by the real kustomize.
            built = helm.run("kubectl", "kustomize", folder)
            self.assertEqual(built.returncode, 0, built.stderr)
            self.assertEqual(yaml.safe_load(built.stdout), overlay)
            self.assertEqual(plain(resources[("Job", f"hsmd-{job}")]), plain(overlay))

    def test_a_batch_is_accepted_unless_the_configuration_says_otherwise(self):
        text = "[hsm]\nidentity = 'E'\n"
        for name, given, wanted in [
            ("auth", text, "[hsm]\nbatch = true\nidentity = 'E'\n"),
            ("auth", text + "batch = false\n", text + "batch = false\n"),
            ("accounts", text, "[hsm]\nbatch = true\nidentity = 'E'\n"),
            ("keys", text, text),
        ]:
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(given)
                file.flush()
                resources = by_name(helm.template("--set-file", f"services.{name}.config={file.name}"))
            self.assertEqual(resources[("ConfigMap", f"{name}-config")]["data"][f"{name}.toml"], wanted)

    def test_accounts_asks_for_neither_redis_nor_others_secrets(self):
        resources = by_name(render("accounts alone"))
        self.assertNotIn(("NetworkPolicy", "to-redis"), resources)
        spec = resources[("Deployment", "accounts")]["spec"]["template"]["spec"]
        self.assertEqual([v["name"] for v in spec["volumes"]], ["config", "tls", "database", "state"])
        policy = by_name(render("callers"))[("NetworkPolicy", "accounts-internal")]["spec"]
        self.assertEqual(policy["ingress"][0]["from"], [{"podSelector": {"matchLabels": {"c": "d"}}}])
        self.assertEqual(policy["ingress"][0]["ports"], [{"protocol": "TCP", "port": "internal"}])
        self.assertNotIn(("NetworkPolicy", "accounts-internal"), by_name(render("default")))

    def test_alerts_and_dashboard_are_the_repositorys(self):
        resources = by_name(render("monitoring"))
        rules = yaml.safe_load((ROOT / "k8s/monitoring/alerts.yaml").read_text())
        self.assertEqual(resources[("PrometheusRule", "hsmd")]["spec"], rules)
        for key, file in [("hsmd.json", "dashboard.json"), ("hsmd-services.json", "services.json")]:
            dashboard = json.loads((ROOT / "k8s/monitoring" / file).read_text())
            self.assertEqual(json.loads(resources[("ConfigMap", "hsmd-dashboard")]["data"][key]), dashboard)
        selector = resources[("ServiceMonitor", "hsmd")]["spec"]["selector"]["matchLabels"]
        ports = {endpoint["port"] for endpoint in resources[("ServiceMonitor", "hsmd")]["spec"]["endpoints"]}
        for (kind, name), resource in resources.items():
            if kind == "Service":
                self.assertLessEqual(selector.items(), resource["metadata"]["labels"].items(), name)
                self.assertTrue(ports & {port["name"] for port in resource["spec"]["ports"]}, name)

    def test_what_is_misspelt_is_refused(self):
        for value in ["hsmd.stanby=true", "services.keys.replicas=0", "services.keys.database=true", "services.app.secrets.lts=x", "image.hsmd.digest=latest", "networkPolicy.otlp[0].cidr=10.0.0.1"]:
            answer = helm.helm("template", helm.CHART, "--set", value)
            self.assertNotEqual(answer.returncode, 0, value)
            self.assertIn(value.split("=")[0].split(".")[-1].split("[")[0], answer.stderr)

    def test_the_package_carries_the_monitoring(self):
        with tempfile.TemporaryDirectory() as folder:
            answer = helm.helm("package", helm.CHART, "--destination", folder)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            shown = helm.helm("template", f"{folder}/hsmd-0.1.0.tgz", "--set", "monitoring.prometheusRule=true")
            self.assertIn("HsmdNotReady", shown.stdout)


def by_name(resources):
    return {(r["kind"], r["metadata"]["name"]): r for r in resources}


def plain(resource):
    """Without what only helm has a use for; lists of named things in the order of their names."""
    resource = copy.deepcopy(resource)
    resource["metadata"].pop("annotations", None)
    return ordered(resource)


def ordered(value):
    if isinstance(value, dict):
        return {key: ordered(of) for key, of in value.items() if key != "imagePullPolicy"}
    if isinstance(value, list):
        items = [ordered(item) for item in value]
        steps = all(isinstance(item, dict) and "args" in item for item in items)
        named = all(isinstance(item, dict) and "name" in item for item in items)
        return sorted(items, key=lambda item: item["name"]) if named and not steps else items
    return value


if __name__ == "__main__":
    unittest.main()
