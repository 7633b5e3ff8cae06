"""What k8s/ has around the service: each object against its schema, and against what chart and documentation say."""

import functools
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import CHART, ROOT, TOOLS, helm, run
from definitions import custom, problems
from manifests import containers, name_of, of_kind, pods, references, selects

K8S = ROOT / "k8s"
BUILDS = ("overlays/demo", "overlays/ha", "loadtest", "scaling")


@functools.cache
def built(folder: str) -> list[dict]:
    result = run(TOOLS / "bin/kustomize", "build", K8S / folder)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@pytest.fixture(params=BUILDS)
def overlay(request) -> list[dict]:
    return built(request.param)


def component(name: str) -> list[dict]:
    """A component that no overlay has."""
    return [document for file in sorted((K8S / "components" / name).glob("*.yaml")) if file.name != "kustomization.yaml" for document in yaml.safe_load_all(file.read_text())]


@pytest.mark.parametrize("version", ["1.29", "1.34", "1.37"])
def test_every_object_is_valid(overlay, version):
    assert not {name_of(item): found for item in overlay if (found := problems(item, version))}


def test_the_component_for_the_valkey_operator_is_valid():
    assert not {name_of(item): found for item in component("valkey-operator") if (found := problems(item, "1.34"))}


@pytest.mark.parametrize("kind", ["ScyllaCluster", "ScyllaDBMonitoring", "ValkeyCluster", "Gateway", "HTTPRoute", "ServiceMonitor", "PrometheusRule"])
def test_a_field_that_does_not_exist_is_noticed(kind):
    item = of_kind(built("overlays/ha") + component("valkey-operator"), kind)[0]
    assert (item["apiVersion"], item["kind"]) in custom()
    assert problems(item | {"spec": item["spec"] | {"misspelt": 1}}, "1.34")


def test_every_pod_meets_the_restricted_standard(overlay):
    for item, _, spec in pods(overlay):
        # Only what asks Kubernetes for something has a token: the load tester that scales a Deployment.
        asks = item["metadata"]["name"] == "countersign-scaling"
        assert spec["automountServiceAccountToken"] is asks, name_of(item)
        assert spec["enableServiceLinks"] is False, name_of(item)
        assert spec["securityContext"]["runAsNonRoot"] is True, name_of(item)
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name_of(item)
        for container in containers(spec):
            context = container["securityContext"]
            assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name_of(item)
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name_of(item)
            assert "memory" in container["resources"]["limits"], name_of(item)
            assert re.search(r":[^/:]+$", container["image"]) and not container["image"].endswith(":latest"), name_of(item)


def test_namespaces_enforce_it_for_the_service():
    for folder in ("overlays/demo", "overlays/ha"):
        levels = {item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for item in of_kind(built(folder), "Namespace")}
        assert levels == {"countersign": "restricted", "scylla": "privileged"}
        for item, _, _ in pods(built(folder)):
            assert item["metadata"]["namespace"] == "countersign", name_of(item)


def test_selectors_select_something(overlay):
    every = [(item["metadata"]["namespace"], metadata["labels"]) for item, metadata, _ in pods(overlay)]
    for item in of_kind(overlay, "Service", "PodDisruptionBudget", "StatefulSet"):
        selector = item["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        assert [1 for namespace, labels in every if namespace == item["metadata"]["namespace"] and selects(selector, labels)], name_of(item)


@pytest.mark.parametrize("folder", BUILDS)
def test_what_pods_name_is_there_or_in_the_list_of_what_to_make_before(folder):
    objects = built(folder)
    made = {(item["kind"], item["metadata"]["name"]) for item in objects}
    readme = (K8S / "README.md").read_text()
    for item, _, spec in pods(objects):
        for kind, name in references(spec):
            assert (kind, name) in made or f"`{name}`" in readme, (name_of(item), kind, name)
        if "priorityClassName" in spec:
            assert spec["priorityClassName"] in {other["metadata"]["name"] for other in of_kind(built("overlays/ha"), "PriorityClass")}


def permissions_in_the_guide() -> str:
    guide = (ROOT / "docs/valkey.md").read_text()
    return re.search(r"^ACL SETUSER countersign on >… (.+)$", guide, re.MULTILINE)[1]


def test_the_service_s_user_of_valkey_may_do_what_the_guide_says():
    wanted = permissions_in_the_guide()
    demo = (K8S / "overlays/demo/countersign/users.acl").read_text()
    assert f"user countersign on >demo-countersign {wanted}\n" in demo
    cluster = of_kind(component("valkey-operator"), "ValkeyCluster")[0]
    user = next(user for user in cluster["spec"]["users"] if user["name"] == "countersign")
    assert user["permissions"] == wanted


def test_valkey_is_set_as_the_guide_says():
    text = (K8S / "components/valkey/valkey.conf").read_text()
    config = of_kind(component("valkey-operator"), "ValkeyCluster")[0]["spec"]["config"]
    for name, value in {"maxmemory-policy": "noeviction", "appendonly": "no", "save": "", "cluster-node-timeout": "5000"}.items():
        assert config[name] == value
        written = value or '""'
        assert f"\n{name} {written}\n" in text, name


def test_the_number_of_valkeys_is_the_same_everywhere():
    for folder, replicas in (("overlays/demo", 0), ("overlays/ha", 1)):
        server = next(item for item in of_kind(built(folder), "StatefulSet") if item["metadata"]["name"] == "valkey")
        job = of_kind(built(folder), "Job")[0]

        def environment(item):
            return {variable["name"]: variable.get("value") for variable in item["spec"]["template"]["spec"]["containers"][0]["env"]}

        assert environment(server)["SERVERS"] == environment(job)["SERVERS"] == str(server["spec"]["replicas"])
        assert environment(job)["REPLICAS"] == str(replicas)
        assert server["spec"]["replicas"] == 3 * (1 + replicas)
        memory = int(server["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi").removesuffix("Mi"))
        memory *= 1024 if memory < 64 else 1
        assert int(environment(server)["MAXMEMORY"].removesuffix("mb")) == memory * 3 // 4


def test_secrets_for_valkey_are_made_with_the_guide_s_permissions():
    result = subprocess.run([K8S / "valkey-secrets.sh", "north"], capture_output=True, text=True, check=True)
    users, service = yaml.safe_load_all(result.stdout)
    assert [item["metadata"] for item in (users, service)] == [{"name": name, "namespace": "north"} for name in ("valkey-users", "countersign-valkey")]
    assert permissions_in_the_guide() in users["stringData"]["users.acl"]
    assert service["stringData"]["password"] not in users["stringData"]["users.acl"]
    assert len(set(users["stringData"].values()) | set(service["stringData"].values())) == 4


@pytest.mark.parametrize("folder, values", [("overlays/demo", K8S / "overlays/demo/values.yaml"), ("overlays/ha", CHART / "values-ha.yaml")])
def test_the_chart_s_values_name_what_the_overlay_makes(folder, values):
    given = yaml.safe_load(values.read_text())
    objects = built(folder)
    scylla = of_kind(objects, "ScyllaCluster")[0]
    client = f"{scylla['metadata']['name']}-client.{scylla['metadata']['namespace']}.svc"
    assert [host.split(":")[0] for host in given["store"]["scylla"]["hosts"]] == [client]
    assert given["store"]["scylla"]["datacenter"] == scylla["spec"]["datacenter"]["name"]
    services = {f"{item['metadata']['name']}.{item['metadata']['namespace']}.svc:6379" for item in of_kind(objects, "Service")}
    assert set(given["valkey"]["hosts"]) <= services
    assert given["priorityClassName"] in {item["metadata"]["name"] for item in of_kind(objects, "PriorityClass")}
    members = sum(rack["members"] for rack in scylla["spec"]["datacenter"]["racks"])
    assert int(given["config"]["scylla_replication"]) == members
    result = helm("helm4", "template", "countersign", CHART, "-n", "countersign", "-f", values, "--set", "superAdministrators.existingSecret=countersign-super-administrators")
    assert result.returncode == 0, result.stderr
    # What the policies of the overlay let in is how the chart labels its pods.
    pod_labels = next(item for item in yaml.safe_load_all(result.stdout) if item and item["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pod_labels["app.kubernetes.io/name"] == "countersign"


def test_the_load_tester_may_scale_one_deployment_and_nothing_else():
    role = of_kind(built("scaling"), "Role")[0]
    writing = [rule for rule in role["rules"] if set(rule["verbs"]) - {"get", "list", "watch"}]
    assert writing == [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "resourceNames": ["countersign"], "verbs": ["get", "patch", "update"]}]


def test_the_load_tester_knows_the_options_that_it_is_given():
    program = Path(os.environ.get("COUNTERSIGN_LOADTEST", ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/countersign-loadtest"))
    assert program.exists(), f"{program} is missing: cargo build -p countersign-loadtest"
    used = [container["args"] for folder in ("overlays/ha", "loadtest") for _, _, spec in pods(built(folder)) for container in spec["containers"] if container["image"].startswith("countersign/loadtest:")]
    assert {command for command, *_ in used} == {"canary", "run"}
    for command, *options in used:
        known = set(re.findall(r"^ +(--[a-z-]+)", run(program, command, "--help").stdout, re.MULTILINE))
        assert {option.split("=")[0] for option in options} <= known, command
