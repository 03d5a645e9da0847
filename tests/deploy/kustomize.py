"""A small kustomize: as much of it as our overlays use, so that their result can be checked here.

Knows resources, images, configMapGenerator and secretGenerator with files, and JSON patches (add,
replace) by kind and name. Anything else in a kustomization is an error. Generated names lack the hash
that the real kustomize appends to them and to what refers to them.
"""

import base64
import copy
import pathlib

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "configMapGenerator", "secretGenerator", "patches"}


def load(path):
    return [document for document in yaml.safe_load_all(pathlib.Path(path).read_text()) if document]


def build(folder, generated=None):
    """All resources of a kustomization. `generated` is where files of `secrets/` are, if elsewhere."""
    folder = pathlib.Path(folder)
    text = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(text) <= KNOWN, set(text) - KNOWN
    resources = []
    for name in text.get("resources", []):
        path = folder / name
        resources += build(path, generated) if path.is_dir() else load(path)
    for kind, key in [("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")]:
        resources += [generate(folder, kind, entry, text, generated) for entry in text.get(key, [])]
    for patch in text.get("patches", []):
        apply(patch, resources)
    for resource in resources:
        for container in containers(resource):
            for image in text.get("images", []):
                if container["image"].split(":")[0] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return resources


def generate(folder, kind, entry, text, generated):
    assert set(entry) <= {"name", "files"}, entry
    data = {}
    for file in entry["files"]:
        key, _, source = file.rpartition("=")
        path = folder / source
        if source.startswith("secrets/") and generated:
            path = generated / source.removeprefix("secrets/")
        content = path.read_bytes()
        data[key or path.name] = base64.b64encode(content).decode() if kind == "Secret" else content.decode()
    metadata = {"name": entry["name"], "namespace": text["namespace"]}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}


def apply(patch, resources):
    target = patch["target"]
    found = [r for r in resources if r["kind"] == target["kind"] and r["metadata"]["name"] == target["name"]]
    assert len(found) == 1, f"{target} fits {len(found)} resources"
    for operation in yaml.safe_load(patch["patch"]):
        assert operation["op"] in ("add", "replace"), operation
        *way, last = operation["path"].strip("/").split("/")
        place = found[0]
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        value = copy.deepcopy(operation["value"])
        if isinstance(place, dict):
            assert operation["op"] == "add" or last in place, operation
            place[last] = value
        elif operation["op"] == "add":
            place.insert(len(place) if last == "-" else int(last), value)
        else:
            place[int(last)] = value


def pod(resource):
    """The pod that a resource makes, or nothing."""
    spec = resource.get("spec", {})
    if resource["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template", {}).get("spec") if "template" in spec else None


def containers(resource):
    spec = pod(resource) or {}
    return [*spec.get("initContainers", []), *spec.get("containers", [])]
