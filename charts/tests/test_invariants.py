"""What holds of the manifests of every file of values."""

import re

from conftest import CHART, HELMS, rendered_text, values
from manifests import annotations, containers, hooks, name_of, of_kind, pods, references, selects

CLUSTER_WIDE = {"PriorityClass", "Namespace", "ClusterRole", "ClusterRoleBinding"}


def own(objects):
    """Not what `extraObjects` brings."""
    return [item for item in objects if "app.kubernetes.io/name" in item["metadata"].get("labels", {})]


def test_both_helms_render_the_same(case):
    first, second = (rendered_text(program, case) for program in HELMS)

    def sorted_documents(text):
        return sorted(document.strip() for document in re.split(r"^---$", text, flags=re.MULTILINE))

    assert sorted_documents(first) == sorted_documents(second)


def test_nothing_is_random_or_dated(case):
    again = rendered_text.__wrapped__("helm4", case)
    assert again == rendered_text("helm4", case)


def test_no_line_ends_in_blanks(case):
    text = rendered_text("helm4", case)
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_no_two_objects_have_one_name(objects):
    names = [(item["apiVersion"].split("/")[0], name_of(item), item["metadata"].get("namespace")) for item in objects]
    assert len(names) == len(set(names))


def test_every_object_is_in_the_release_s_namespace_and_labelled(case, objects):
    namespaces = {values(case)["namespaceOverride"] or "north"}
    if values(case)["dashboards"]["namespace"]:
        namespaces.add(values(case)["dashboards"]["namespace"])
    for item in own(objects):
        labels = item["metadata"]["labels"]
        assert len(item["metadata"]["name"]) <= 63, name_of(item)
        assert item["metadata"]["namespace"] in namespaces, name_of(item)
        assert labels["app.kubernetes.io/instance"] == "messages", name_of(item)
        assert labels["app.kubernetes.io/managed-by"] == "Helm", name_of(item)
        assert set(values(case)["commonLabels"].items()) <= set(labels.items()), name_of(item)
        assert set(values(case)["commonAnnotations"].items()) <= set(annotations(item).items()), name_of(item)


def test_every_pod_meets_the_restricted_standard(objects):
    for item, _, spec in pods(objects):
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(forbidden), name_of(item)
        assert not [volume for volume in spec.get("volumes", []) if "hostPath" in volume], name_of(item)
        general = spec["securityContext"]
        assert general["runAsNonRoot"] is True and general["runAsUser"] > 0, name_of(item)
        assert general["seccompProfile"]["type"] == "RuntimeDefault", name_of(item)
        for container in containers(spec):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name_of(item)
            assert context["readOnlyRootFilesystem"] is True, name_of(item)
            assert context["capabilities"] == {"drop": ["ALL"]}, name_of(item)
            assert not context.get("privileged"), name_of(item)


def test_no_pod_has_a_token(objects):
    for item, _, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False, name_of(item)
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False, name_of(account)


def test_every_container_says_what_it_needs(objects):
    for item, _, spec in pods(objects):
        for container in containers(spec):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), name_of(item)
            assert "memory" in resources["limits"] and "cpu" not in resources["limits"], name_of(item)


def test_no_image_is_named_without_its_version(objects):
    for item, _, spec in pods(objects):
        for container in containers(spec):
            assert re.search(r"(:[^/:]+|@sha256:[0-9a-f]{64})$", container["image"]), name_of(item)
            assert not container["image"].endswith(":latest"), name_of(item)


def test_no_variable_is_there_twice_and_each_is_set_before_it_is_used(objects):
    for item, _, spec in pods(objects):
        for container in containers(spec):
            known = set()
            for variable in container.get("env", []):
                assert variable["name"] not in known, (name_of(item), variable["name"])
                known_now = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
                assert known_now <= known, (name_of(item), variable)
                known.add(variable["name"])


def test_what_is_mounted_is_there_and_what_is_there_is_mounted(objects):
    for item, _, spec in pods(objects):
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        assert len(volumes) == len(set(volumes)), name_of(item)
        mounted = set()
        for container in containers(spec):
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths)), name_of(item)
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == set(volumes), name_of(item)


def test_files_named_in_the_settings_are_mounted(objects):
    """Each path under /etc/countersign in the settings is a file that a volume has."""
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        settings = of_kind(objects, "ConfigMap")
        text = next(item["data"]["countersign.toml"] for item in settings if item["metadata"]["name"] == deployment["metadata"]["name"])
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        files = set()
        for mount in spec["containers"][0]["volumeMounts"]:
            volume = volumes[mount["name"]]
            source = volume.get("secret") or volume.get("configMap") or {}
            files |= {f"{mount['mountPath']}/{entry['path']}" for entry in source.get("items", [])}
        named = set(re.findall(r'"(/etc/countersign/[^"]+)"', text))
        assert named <= files
        # And nothing is mounted for nobody, but for the settings themselves.
        assert files - named == {"/etc/countersign/config/countersign.toml"}


def test_a_configmap_of_the_release_that_a_pod_names_is_there(objects):
    made = {item["metadata"]["name"]: item for item in of_kind(objects, "ConfigMap")}
    for deployment in of_kind(objects, "Deployment"):
        name = deployment["metadata"]["name"]
        assert name in made
        for volume in deployment["spec"]["template"]["spec"]["volumes"]:
            if volume.get("configMap", {}).get("name") == name:
                assert {entry["key"] for entry in volume["configMap"]["items"]} <= made[name]["data"].keys()


def test_hooks_need_nothing_of_the_release(objects):
    """What runs before an installation finds only what was there before, and hooks of lower weight."""
    early = [item for item in objects if "pre-install" in hooks(item)]
    ordinary = {(item["kind"], item["metadata"]["name"]) for item in objects if not hooks(item)}
    for item, _, spec in pods(early):
        assert not set(references(spec)) & ordinary, name_of(item)
        account = ("ServiceAccount", spec["serviceAccountName"])
        assert account not in ordinary, name_of(item)
        weights = {(other["kind"], other["metadata"]["name"]): int(annotations(other)["helm.sh/hook-weight"]) for other in early}
        if account in weights:
            assert weights[account] < int(annotations(item)["helm.sh/hook-weight"]), name_of(item)
        policies = [other for other in of_kind(early, "NetworkPolicy")]
        for policy in policies:
            assert int(annotations(policy)["helm.sh/hook-weight"]) < int(annotations(item)["helm.sh/hook-weight"])
    for item in early:
        assert "before-hook-creation" in annotations(item)["helm.sh/hook-delete-policy"], name_of(item)


def test_selectors_select_the_pods_of_one_component(objects):
    everything = [(item, metadata["labels"]) for item, metadata, _ in pods(objects)]
    for deployment in of_kind(objects, "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert [name_of(item) for item, labels in everything if selects(selector, labels)] == [name_of(deployment)]
        assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
    services = [(item, item["spec"]["selector"]) for item in of_kind(objects, "Service")]
    budgets = [(item, item["spec"]["selector"]["matchLabels"]) for item in of_kind(objects, "PodDisruptionBudget")]
    for item, selector in services + budgets:
        selected = {other["kind"] for other, labels in everything if selects(selector, labels)}
        assert selected == {"Deployment"}, name_of(item)


def test_what_sends_requests_on_finds_a_port(objects):
    deployment = of_kind(objects, "Deployment")[0]
    ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
    services = {item["metadata"]["name"]: item for item in of_kind(objects, "Service")}
    for service in services.values():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["spec"]["ports"]}
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                assert backend["port"] in {port["port"] for port in services[backend["name"]]["spec"]["ports"]}
    for monitor in of_kind(objects, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        found = [item for item in services.values() if selects(selector, item["metadata"]["labels"])]
        assert len(found) == 1
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= {port["name"] for port in found[0]["spec"]["ports"]}
    for monitor in of_kind(objects, "PodMonitor"):
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_administrative_listener_is_never_behind_an_ingress(objects):
    public = of_kind(objects, "Deployment")[0]["metadata"]["name"]
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} == {public}
    for route in of_kind(objects, "HTTPRoute"):
        assert {backend["name"] for rule in route["spec"]["rules"] for backend in rule.get("backendRefs", [])} == {public}
    for service in of_kind(objects, "Service"):
        if "admin" in {port["targetPort"] for port in service["spec"]["ports"]}:
            assert service["spec"]["type"] == "ClusterIP" and len(service["spec"]["ports"]) == 1


def test_the_number_of_pods_has_one_owner(case, objects):
    deployment = of_kind(objects, "Deployment")[0]
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    mode = values(case)["autoscaling"]["mode"]
    assert ("replicas" in deployment["spec"]) == (mode == "fixed")
    assert len(scalers) == (mode in ("hpa", "keda"))
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_a_budget_lets_nodes_be_drained(objects):
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["maxUnavailable"] not in (0, "0%")


def test_probes_ask_the_pod_itself(objects):
    for deployment in of_kind(objects, "Deployment"):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            assert container[probe]["httpGet"] == {"path": path, "port": "admin"}


def test_policies_let_through_what_is_configured(case, objects):
    """Every host of the store and of Valkey has a port that pods may connect to."""
    for policy in of_kind(objects, "NetworkPolicy"):
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        allowed = {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
        hosts = [] if values(case)["store"]["embedded"]["enabled"] else values(case)["store"]["scylla"]["hosts"]
        if url := values(case)["store"]["server"]["url"]:
            scheme, rest = url.split("://")
            hosts = ["dynamodb:443"] if scheme == "dynamodb" else rest.split("/")[0].split(",")
        if component == "service":
            hosts = hosts + values(case)["valkey"]["hosts"]
        assert {int(host.rsplit(":", 1)[1]) for host in hosts} | {53} <= allowed, name_of(policy)
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"], name_of(policy)


def test_no_secret_is_made(objects):
    assert not of_kind(objects, "Secret")


def test_rules_and_dashboards_are_those_of_the_project(case, objects):
    import json

    for rules in of_kind(objects, "PrometheusRule"):
        groups = [group["name"] for group in rules["spec"]["groups"]]
        assert len(set(groups)) == len(groups), "the API server refuses two groups of one name in one object"
        for group in rules["spec"]["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    assert rule["annotations"]["runbook_url"].startswith(values(case)["metrics"]["prometheusRule"]["runbookUrl"])
                    assert rule["annotations"]["runbook_url"].endswith(f"{rule['alert']}.md")
    boards = [item for item in of_kind(objects, "ConfigMap") if item["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "dashboards"]
    files = sorted((CHART.parents[1] / "grafana/dashboards").glob("*.json"))
    assert len(boards) == (len(files) if values(case)["dashboards"]["enabled"] else 0)
    shown = {name: text for board in boards for name, text in board["data"].items()}
    for file in files if boards else []:
        assert json.loads(shown[file.name]) == json.loads(file.read_text())
