"""Looks into rendered objects."""

from collections.abc import Iterator


def of_kind(objects: list[dict], *kinds: str) -> list[dict]:
    return [item for item in objects if item["kind"] in kinds]


def name_of(item: dict) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def annotations(item: dict) -> dict:
    return item["metadata"].get("annotations", {})


def hooks(item: dict) -> list[str]:
    return annotations(item).get("helm.sh/hook", "").split(",") if "helm.sh/hook" in annotations(item) else []


def pods(objects: list[dict]) -> list[tuple[dict, dict, dict]]:
    """Of each object that makes pods: the object, a pod's metadata, its spec."""
    found = []
    for item in objects:
        if item["kind"] == "Pod":
            found.append((item, item["metadata"], item["spec"]))
        elif item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            template = item["spec"]["template"]
            found.append((item, template.get("metadata", {}), template["spec"]))
        elif item["kind"] == "CronJob":
            template = item["spec"]["jobTemplate"]["spec"]["template"]
            found.append((item, template.get("metadata", {}), template["spec"]))
    return found


def containers(spec: dict) -> list[dict]:
    return spec.get("initContainers", []) + spec["containers"]


def selects(selector: dict, labels: dict) -> bool:
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def references(node) -> Iterator[tuple[str, str]]:
    """ConfigMaps and Secrets that a pod names: kind and name."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "secret" and isinstance(value, dict) and "secretName" in value:
            yield "Secret", value["secretName"]
        elif key in ("configMap", "configMapRef", "configMapKeyRef") and isinstance(value, dict) and "name" in value:
            yield "ConfigMap", value["name"]
        elif key in ("secretRef", "secretKeyRef") and isinstance(value, dict) and "name" in value:
            yield "Secret", value["name"]
        yield from references(value)
