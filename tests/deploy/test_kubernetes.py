"""The Kubernetes manifests: valid by the schemas, restricted, fitting each other, and fitting the code.

Schemas are those of PyPI kubernetes-validate. The overlays are built by kustomize.py here, not by the
real kustomize, and nothing is applied to a cluster: what only an API server checks is not checked.
"""

import base64
import pathlib
import re
import signal
import subprocess
import tempfile
import tomllib
import unittest

import kubernetes_validate
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import kustomize
from files import BAD_CONFIGURATION, BIN, EXAMPLE, ROOT, run

K8S = ROOT / "k8s"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
CEREMONY = [*kustomize.load(K8S / "overlays/prod/ceremony/init.yaml"),
            *(job for name in ["import", "check"] for job in kustomize.build(K8S / f"overlays/prod/jobs/{name}"))]
SERVICES = ["keys", "auth", "app", "accounts"]
# What an imported password takes, while it is verified: scrypt with N = 16384 and r = 16.
SCRYPT = 128 * 16 * 16384


def by_name(resources, kind):
    return {r["metadata"]["name"]: r for r in resources if r["kind"] == kind}


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.secrets = cls.folder / "secrets"
        made = run(K8S / "overlays/dev/make-secrets", cls.secrets)
        assert made.returncode == 0, made.stderr
        cls.overlays = {
            "dev": kustomize.build(K8S / "overlays/dev", cls.secrets),
            "prod": kustomize.build(K8S / "overlays/prod"),
        }

    def everything(self):
        for overlay, resources in self.overlays.items():
            for resource in resources + (CEREMONY if overlay == "prod" else []):
                yield overlay, resource

    def pods(self):
        for overlay, resource in self.everything():
            if spec := kustomize.pod(resource):
                yield overlay, resource, spec

    def configuration(self, overlay, name):
        return tomllib.loads((K8S / f"overlays/{overlay}/config/{name}.toml").read_text())

    def test_schemas(self):
        names = set()
        for overlay, resource in self.everything():
            kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
            name = (overlay, resource["kind"], resource["metadata"]["name"])
            self.assertNotIn(name, names)
            names.add(name)
            if resource["kind"] != "Namespace":
                self.assertEqual(resource["metadata"]["namespace"], "hsmd")
        base = kustomize.build(K8S / "base")
        self.assertGreater(len(base), 20)

    def test_a_mistake_would_be_found(self):
        broken = kustomize.build(K8S / "base")[1] | {"automountToken": False}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)

    def test_pods_are_restricted(self):
        for _, resource, spec in self.pods():
            context = spec["securityContext"]
            self.assertTrue(context["runAsNonRoot"])
            self.assertNotIn(context["runAsUser"], (0, 65534))
            self.assertEqual(context["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & set(spec))
            token = resource["metadata"]["name"] == "rolling-restart"
            self.assertEqual(spec["automountServiceAccountToken"], token)
            for container in kustomize.containers(resource):
                own = container["securityContext"]
                self.assertFalse(own["allowPrivilegeEscalation"])
                self.assertTrue(own["readOnlyRootFilesystem"])
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertIn("memory", container["resources"]["limits"])

    def test_the_documented_sidecar_is_valid_and_restricted(self):
        text = (K8S / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
        spec = yaml.safe_load(text)["spec"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "yours"}, "spec": spec}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        containers = [*spec["initContainers"], *spec["containers"]]
        # Two users: the gateway's key is not the service's to read.
        self.assertEqual(len({container["securityContext"]["runAsUser"] for container in containers}), 2)
        for container in containers:
            own = container["securityContext"]
            self.assertFalse(own["allowPrivilegeEscalation"])
            self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        self.assertEqual(mounted, {volume["name"] for volume in spec["volumes"]})

    def test_what_is_referred_to_exists(self):
        readme = (K8S / "README.md").read_text()
        for overlay, resource, spec in self.pods():
            resources = self.overlays[overlay]
            self.assertIn(spec["serviceAccountName"], by_name(resources, "ServiceAccount"))
            mounted = {mount["name"] for c in kustomize.containers(resource) for mount in c.get("volumeMounts", [])}
            self.assertEqual(mounted, {volume["name"] for volume in spec.get("volumes", [])})
            for volume in spec.get("volumes", []):
                if name := volume.get("secret", {}).get("secretName"):
                    if overlay == "dev":
                        self.assertIn(name, by_name(resources, "Secret"))
                    self.assertIn(f"`{name}`", readme)
                if (name := volume.get("configMap", {}).get("name")) and name not in ("hsmd-ceremony", "hsmd-copy"):
                    self.assertIn(name, by_name(resources, "ConfigMap"))
                if name := volume.get("persistentVolumeClaim", {}).get("claimName"):
                    self.assertIn(name, by_name(resources, "PersistentVolumeClaim"))

    def test_services_and_policies_select_pods(self):
        for overlay, resource in self.everything():
            labels = [
                r["spec"]["template"]["metadata"]["labels"] for r in self.overlays[overlay] if r["kind"] == "Deployment"
            ]
            if resource["kind"] in ("Service", "PodDisruptionBudget"):
                selector = resource["spec"]["selector"]
                selector = selector.get("matchLabels", selector)
                self.assertEqual(sum(selector.items() <= of.items() for of in labels), 1)
            if resource["kind"] == "NetworkPolicy":
                known = {of["app.kubernetes.io/name"] for of in labels} | {"rolling-restart"}
                named = re.findall(r"'app.kubernetes.io/name': '([^']+)'", str(resource))
                named += [v for vs in re.findall(r"'values': \[([^]]*)\]", str(resource)) for v in re.findall(r"'([^']+)'", vs)]
                self.assertLessEqual(set(named), known)

    def test_everything_is_denied_but_what_is_said(self):
        for resources in self.overlays.values():
            deny = by_name(resources, "NetworkPolicy")["default-deny"]["spec"]
            self.assertEqual(deny, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
            callers = by_name(resources, "NetworkPolicy")["hsmd"]["spec"]["ingress"][0]
            self.assertEqual(callers["ports"], [{"protocol": "TCP", "port": 11111}])
            (who,) = callers["from"][0]["podSelector"]["matchExpressions"]
            self.assertEqual(who["values"], SERVICES)

    def test_ports_are_those_of_the_configuration(self):
        for overlay, resources in self.overlays.items():
            deployments = by_name(resources, "Deployment")
            hsmd = self.configuration(overlay, "hsmd")
            ports = {p["name"]: p["containerPort"] for p in deployments["hsmd"]["spec"]["template"]["spec"]["containers"][0]["ports"]}
            self.assertEqual(hsmd["listen"]["tls"]["address"], f"0.0.0.0:{ports['grpc']}")
            self.assertEqual(EXAMPLE["listen"]["tls"]["address"], f"0.0.0.0:{ports['grpc']}")
            self.assertEqual(hsmd["observe"]["address"], f"0.0.0.0:{ports['metrics']}")
            for name in SERVICES:
                configuration = self.configuration(overlay, name)
                example = tomllib.loads((ROOT / f"services/{name}/{name}.example.toml").read_text())
                named = deployments[name]["spec"]["template"]["spec"]["containers"][0]["ports"]
                own = {port["name"]: port["containerPort"] for port in named}
                internal = {"internal"} if name == "accounts" else set()
                self.assertEqual(set(own), {"http", "probes"} | internal)
                if internal:
                    self.assertEqual(configuration["internal"]["listen"], f"0.0.0.0:{own['internal']}")
                self.assertEqual(configuration["http"]["listen"], f"0.0.0.0:{own['http']}")
                self.assertEqual(configuration["http"]["probes"], f"0.0.0.0:{own['probes']}")
                self.assertTrue(example["http"]["listen"].endswith(f":{own['http']}"))
                self.assertEqual(configuration["hsm"]["endpoint"], f"https://hsmd:{ports['grpc']}")

    def test_paths_in_the_configuration_are_mounted(self):
        optional = {"/run/secrets/database-owner/url", "/run/hsmd/service.sock", "/run/hsmd/admin.sock"}
        for overlay, resources in self.overlays.items():
            for name in ["hsmd", *SERVICES]:
                text = (K8S / f"overlays/{overlay}/config/{name}.toml").read_text()
                spec = by_name(resources, "Deployment")[name]["spec"]["template"]["spec"]
                (container,) = spec["containers"]
                mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
                volumes = {v["name"]: v for v in spec["volumes"]}
                for path in set(re.findall(r'"(/[a-z][^"]*)"', text)) - optional:
                    if path.endswith(".so"):
                        continue
                    folder = max((m for m in mounts if f"{path}/".startswith(f"{m}/")), key=len, default=None)
                    self.assertIsNotNone(folder, (name, path))
                    secret = volumes[mounts[folder]].get("secret", {}).get("secretName")
                    if secret and overlay == "dev":
                        self.assertIn(pathlib.PurePath(path).name, by_name(resources, "Secret")[secret]["data"])
            migrate = next(c for c in spec_containers(resources) if c["name"] == "migrate")
            self.assertIn("/run/secrets/database-owner", [m["mountPath"] for m in migrate["volumeMounts"]])
            others = [c for c in spec_containers(resources) if c["name"] != "migrate"]
            self.assertNotIn("database-owner", [m["name"] for c in others for m in c["volumeMounts"]])

    def test_init_steps(self):
        steps = {o: [c["name"] for c in spec_containers(r)] for o, r in self.overlays.items()}
        self.assertEqual(steps["dev"], ["provision", "migrate", "init", "check", "hsmd"])
        self.assertEqual(steps["prod"], ["migrate", "check", "hsmd"])
        for resources in self.overlays.values():
            self.assertEqual(by_name(resources, "Deployment")["hsmd"]["spec"]["strategy"], {"type": "Recreate"})

    def test_commands_are_real(self):
        known = re.findall(r"^  ([a-z]+) ", run(BIN / "hsmd", "--help").stdout.partition("Commands:")[2], re.M)
        for _, resource, _ in self.pods():
            for container in kustomize.containers(resource):
                image, _, tag = container["image"].partition(":")
                if image in ("hsmd", "hsmd-softhsm", "hsmd-vendor") and "command" not in container:
                    self.assertEqual(container["args"][:2], ["--config", "/etc/hsmd/hsmd.toml"])
                    self.assertIn(container["args"][2], known)
                if image == "hsmd-services":
                    self.assertTrue((BIN / container["command"][0]).is_file())
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    if command := container.get(probe, {}).get("exec", {}).get("command"):
                        # Understood, but nobody is there: 64 would be bad usage, 69 is unreachable.
                        self.assertEqual(run(BIN / command[0], *command[1:]).returncode, 69)

    def test_images_are_built_here_and_of_this_version(self):
        text = (K8S / "image/Dockerfile").read_text()
        targets = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.M))
        foreign = {"postgres", "redis", "rancher/kubectl"}
        for _, resource, _ in self.pods():
            for container in kustomize.containers(resource):
                image, _, tag = container["image"].partition(":")
                if image not in foreign:
                    self.assertIn(image, targets)
                    self.assertEqual(tag, VERSION)
        toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
        self.assertTrue(toolchain.startswith(re.search(r"^ARG RUST_IMAGE=rust:([0-9.]+)", text, re.M)[1]))
        # Named, the toolchain of the image is used as it is: nothing is downloaded.
        self.assertEqual(toolchain, re.search(r"^ENV RUSTUP_TOOLCHAIN=(\S+)", text, re.M)[1])
        # Every image is by a variable, so that it can be given by its digest.
        stages = set(re.findall(r" AS (\S+)$", text, re.M))
        for base in re.findall(r"^FROM (\S+)", text, re.M):
            self.assertTrue(base in stages or base in ("${RUST_IMAGE}", "${BASE_IMAGE}"), base)
        users = re.findall(r"^USER (.*)$", text, re.M)
        self.assertEqual({users[0], users[-1]}, {"10001:10001"})
        members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
        ignore = (K8S / "image/Dockerfile.dockerignore").read_text().splitlines()
        for member in members:
            self.assertIn("!" + member.split("/")[0], ignore)
        built = set(re.findall(r"--bin (\S+)", text))
        self.assertLessEqual(built, {path.name for path in BIN.iterdir()})

    def test_the_daemon_accepts_its_configuration(self):
        for overlay in self.overlays:
            text = (K8S / f"overlays/{overlay}/config/hsmd.toml").read_text()
            # `check` makes the state folder: here, not on this machine's own paths.
            text = text.replace("/var/lib/hsmd", f"{self.folder}/state")
            path = self.folder / "hsmd.toml"
            path.write_text(text)
            answer = run(BIN / "hsmd", "--config", path, "check")
            # 1, not 64: the configuration is good; that database and token are missing here is right.
            self.assertEqual(answer.returncode, 1, answer.stderr)
            self.assertRegex(answer.stdout, "ok .*configuration +is valid")
            wrong = self.folder / "wrong.toml"
            wrong.write_text(text.replace("client_ca", "client_cas"))
            self.assertEqual(run(BIN / "hsmd", "--config", wrong, "check").returncode, BAD_CONFIGURATION)

    def test_the_services_start_with_their_configuration(self):
        names = {"tls.crt": "{}.crt", "tls.key": "{}.key", "ca.crt": "ca.crt"}
        for overlay in self.overlays:
            for name in SERVICES:
                text = (K8S / f"overlays/{overlay}/config/{name}.toml").read_text()
                for key, file in names.items():
                    text = text.replace(f"/run/secrets/tls/{key}", str(self.secrets / file.format(name)))
                text = text.replace("/run/secrets/redis/password", str(self.secrets / "redis.password"))
                text = text.replace("/run/secrets/database/url", str(self.secrets / f"{name}.url"))
                for secret in ["gateway", "service"]:
                    text = text.replace(f"/run/secrets/accounts/{secret}", str(self.secrets / f"accounts.{secret}"))
                text = text.replace("/run/secrets/accounts/smtp", str(self.secrets / "redis.password"))
                text = text.replace(f"/var/lib/hsmd-{name}", str(self.folder))
                text = re.sub(r'(listen|probes) = ".*"', r'\1 = "127.0.0.1:0"', text)
                path = self.folder / f"{name}.toml"
                path.write_text(text)
                with self.subTest(f"{overlay} {name}"):
                    self.assertEqual(self.starts(BIN / f"hsmd-{name}", path), "listens")

    def starts(self, program, configuration):
        """Starts a service until it says that it listens, then stops it."""
        command = [program, "--config", configuration]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            said = []
            for line in process.stderr:
                said.append(line)
                if "listening" in line:
                    process.send_signal(signal.SIGTERM)
                    process.communicate(timeout=30)
                    return "listens"
        return "".join(said)

    def test_what_the_daemon_may_hold_in_memory_fits_the_pods_limit(self):
        for overlay, resources in self.overlays.items():
            limits = EXAMPLE["limits"] | self.configuration(overlay, "hsmd").get("limits", {})
            (container,) = by_name(resources, "Deployment")["hsmd"]["spec"]["template"]["spec"]["containers"]
            volumes = by_name(resources, "Deployment")["hsmd"]["spec"]["template"]["spec"]["volumes"]
            # Calls of callers and of unknown peers on each listener, what a connection holds by itself, and the
            # volumes in memory; half is left for the program, its log and the module.
            held = limits["bytes_in_flight"] + 2 * limits["unknown_bytes_in_flight"]
            held += limits["connections"] * (16 << 10)
            held += sum(mebi(v["emptyDir"]["sizeLimit"]) for v in volumes if v.get("emptyDir", {}).get("medium") == "Memory")
            self.assertLessEqual(held, mebi(container["resources"]["limits"]["memory"]) / 2, overlay)

    def test_what_passwords_may_hold_in_memory_fits_the_pods_limit(self):
        for overlay, resources in self.overlays.items():
            configured = self.configuration(overlay, "accounts")["passwords"]
            example = tomllib.loads((ROOT / "services/accounts/accounts.example.toml").read_text())
            # Named: by default there is a thread for each of the node's cores but one.
            held = configured["threads"] * max(SCRYPT, example["passwords"]["memory_kib"] << 10)
            (container,) = by_name(resources, "Deployment")["accounts"]["spec"]["template"]["spec"]["containers"]
            self.assertLessEqual(held, mebi(container["resources"]["limits"]["memory"]) / 2, overlay)

    def test_accounts_run_once_in_development_and_three_times_in_production(self):
        for overlay, replicas in [("dev", 1), ("prod", 3)]:
            resources = self.overlays[overlay]
            spec = by_name(resources, "Deployment")["accounts"]["spec"]
            self.assertEqual(spec["replicas"], replicas)
            self.assertEqual(spec["template"]["spec"]["topologySpreadConstraints"][0]["topologyKey"], "kubernetes.io/hostname")
            self.assertEqual(by_name(resources, "PodDisruptionBudget")["accounts"]["spec"]["maxUnavailable"], 1)
            # No Redis, and a database of its own.
            self.assertNotIn("redis", [v["name"] for v in spec["template"]["spec"]["volumes"]])
            self.assertEqual("postgres" in by_name(resources, "Deployment"), overlay == "dev")
        self.assertIn("CREATE DATABASE accounts OWNER accounts;", by_name(self.overlays["dev"], "ConfigMap")["postgres-roles"]["data"]["roles.sh"])

    def test_accounts_internal_listener_is_reached_by_nothing_that_was_not_let_in(self):
        for resources in self.overlays.values():
            for name, policy in by_name(resources, "NetworkPolicy").items():
                for rule in policy["spec"].get("ingress", []):
                    self.assertNotIn("internal", [port["port"] for port in rule["ports"]], name)
            ways = [path for rule in by_name(resources, "Ingress")["accounts"]["spec"]["rules"] for path in rule["http"]["paths"]]
            self.assertEqual([way["path"] for way in ways], ["/api/auth", "/account"])

    def test_the_ingress_shows_no_metrics_and_no_probes(self):
        for resources in self.overlays.values():
            for ingress in by_name(resources, "Ingress").values():
                for rule in ingress["spec"]["rules"]:
                    for way in rule["http"]["paths"]:
                        self.assertEqual(way["pathType"], "Exact" if way["path"] == "/" else "Prefix")
                        for inner in ["/metrics", "/ready", "/health", "/live"]:
                            self.assertFalse(f"{inner}/".startswith(way["path"].rstrip("/") + "/") and way["pathType"] == "Prefix")

    def test_certificates_name_the_callers(self):
        load = lambda name: x509.load_pem_x509_certificate((self.secrets / f"{name}.crt").read_bytes())
        callers = {c["name"]: c["san"] for c in self.configuration("dev", "hsmd")["caller"] if "san" in c}
        self.assertEqual(sorted(callers), sorted(SERVICES))
        ca = load("ca").public_key()
        for name in [*SERVICES, "hsmd"]:
            certificate = load(name)
            ca.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm))
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if name == "hsmd":
                self.assertIn("hsmd", names.get_values_for_type(x509.DNSName))
            else:
                self.assertEqual(names.get_values_for_type(x509.UniformResourceIdentifier), [callers[name]])

    def test_secrets_are_made_once(self):
        before = {path.name: path.read_bytes() for path in self.secrets.iterdir()}
        self.assertEqual(run(K8S / "overlays/dev/make-secrets", self.secrets).returncode, 0)
        self.assertEqual(before, {path.name: path.read_bytes() for path in self.secrets.iterdir()})
        for path in self.secrets.iterdir():
            self.assertEqual(path.stat().st_mode & 0o077, 0, path.name)

    def test_restarts_may_touch_nothing_else(self):
        for resources in self.overlays.values():
            job = by_name(resources, "CronJob")["rolling-restart"]
            (rule,) = by_name(resources, "Role")["rolling-restart"]["rules"]
            touched = set(re.findall(r"deployment/([a-z]+)", str(job)))
            self.assertEqual(touched, set(rule["resourceNames"]))
            self.assertLessEqual(touched, set(by_name(resources, "Deployment")))
            spec = job["spec"]
            histories = spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]
            self.assertEqual((spec["schedule"], spec["concurrencyPolicy"], histories), ("17 3,15 * * *", "Forbid", (0, 2)))


def mebi(text):
    return int(text.removesuffix("Mi")) << 20


def spec_containers(resources):
    return kustomize.containers(by_name(resources, "Deployment")["hsmd"])


if __name__ == "__main__":
    unittest.main()
