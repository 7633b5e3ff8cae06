"""Values: documented, checked, covered; and what is wrong with them told at once."""

import json
import os
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml
from conftest import CASES, CHART, HELMS, ROOT, helm, rendered, run, values
from manifests import of_kind

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Maps of whatever their users like: their keys are no values of the chart.
OPEN = {"config", "global"}


def resolved(node: dict) -> dict:
    return SCHEMA["definitions"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def leaves(node, schema: dict, path: tuple = ()):
    """Paths of single values: where the schema lists no more properties."""
    schema = resolved(schema)
    if "properties" in schema and path[:1] not in [(name,) for name in OPEN]:
        for key, value in node.items():
            yield from leaves(value, schema["properties"][key], (*path, key))
    else:
        yield path, node


def at(node, path: tuple):
    for key in path:
        node = node[key]
    return node


def test_schema_and_values_have_the_same_keys():
    def compare(node, schema, path):
        schema = resolved(schema)
        if "properties" in schema and path not in OPEN:
            assert node.keys() == schema["properties"].keys(), path
            assert schema["additionalProperties"] is False, path
            for key, value in node.items():
                compare(value, schema["properties"][key], f"{path}.{key}".strip("."))

    compare(DEFAULTS, SCHEMA, "")


def test_only_what_a_chart_around_this_one_needs_is_open():
    assert resolved(SCHEMA["properties"]["global"]) == {"type": "object"}
    assert "enabled" in SCHEMA["properties"]


def test_every_value_is_documented():
    readme = (CHART / "README.md").read_text()
    missing = [".".join(path) for path, _ in leaves(DEFAULTS, SCHEMA) if f"| `{'.'.join(path)}` |" not in readme]
    # A documented map is documented as a whole.
    assert not [path for path in missing if f"| `{path.rsplit('.', 1)[0]}` |" not in readme]


def test_every_value_has_a_case_in_which_it_is_not_its_default():
    uncovered = [".".join(path) for path, default in leaves(DEFAULTS, SCHEMA) if all(at(values(case), path) == default for case in CASES)]
    # `enabled` is for charts around this one.
    assert [path for path in uncovered if path != "enabled"] == []


def test_an_unknown_key_is_refused_at_every_level():
    validator = jsonschema.Draft7Validator(SCHEMA)

    def objects(node, schema, path=()):
        schema = resolved(schema)
        if "properties" in schema:
            yield path
            for key, value in node.items() if isinstance(node, dict) else []:
                if key in schema["properties"]:
                    yield from objects(value, schema["properties"][key], (*path, key))

    paths = list(objects(DEFAULTS, SCHEMA))
    assert len(paths) > 30
    for path in paths:
        bad = json.loads(json.dumps(DEFAULTS))
        at(bad, path)["misspelt"] = 1
        assert not validator.is_valid(bad), path
    assert validator.is_valid(DEFAULTS)


@pytest.mark.parametrize("program", HELMS)
def test_lint_has_nothing_to_say(program, case):
    result = helm(program, "lint", "--strict", CHART, *CASES[case])
    assert result.returncode == 0, result.stdout + result.stderr


def test_pods_are_replaced_when_a_setting_changes_and_only_then():
    def template(*more):
        result = helm("helm4", "template", "messages", CHART, *CASES["minimal"], *more)
        assert result.returncode == 0, result.stderr
        return of_kind([item for item in yaml.safe_load_all(result.stdout) if item], "Deployment")[0]["spec"]["template"]

    before = template()
    assert template("--set", "config.retention=30days") != before
    for unrelated in ("service.port=80", "podDisruptionBudget.maxUnavailable=2", "autoscaling.mode=hpa", "schema.mode=none"):
        assert template("--set", unrelated) == before, unrelated


@pytest.mark.parametrize("program", HELMS)
def test_all_mistakes_are_told_at_once(program):
    result = helm(program, "template", "messages", CHART, "--set", "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true")
    assert result.returncode != 0
    told = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert [line[4:].split(".")[0] for line in told] == ["There is no store", "There are no super-administrators, so nobody could create an organization", "Pods would be scraped twice"]


def test_settings_are_what_the_service_reads(case, tmp_path):
    """The service itself reads the settings. Only files that a cluster would mount are left out."""
    program = Path(os.environ.get("COUNTERSIGND", ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/countersignd"))
    assert program.exists(), f"{program} is missing: cargo build -p countersign-service"
    deployment = of_kind(rendered(case), "Deployment")[0]["metadata"]["name"]
    text = next(item["data"]["countersign.toml"] for item in of_kind(rendered(case), "ConfigMap") if item["metadata"]["name"] == deployment)
    # Their files are looked into.
    kept = [line for line in text.splitlines() if not line.startswith(("super_administrators", "tls_"))]
    file = tmp_path / "countersign.toml"
    file.write_text("\n".join(kept))
    # A Secret's user comes as a variable.
    environment = {"COUNTERSIGN_SCYLLA_USER": "somebody"} if "scylla_password_file" in text and "scylla_user" not in text else {}
    result = run(program, "check-config", "--config", file, env=environment)
    assert result.returncode == 0, result.stderr
    assert tomllib.loads(text).items() >= {"log_format": "json"}.items()


# What a schema begins with, by the kind of store.
CREATES = {"scylla": "CREATE KEYSPACE", "mariadb": "CREATE DATABASE", "valkeys": "FUNCTION LOAD", "dynamodb": "aws dynamodb create-table"}


def test_the_schema_job_has_the_settings_that_the_service_reads(case):
    program = Path(os.environ.get("COUNTERSIGND", ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/countersignd"))
    for job in of_kind(rendered(case), "Job"):
        environment = {variable["name"]: variable.get("value", "somebody") for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        result = run(program, "schema", "--dry-run", env=environment)
        assert result.returncode == 0, result.stderr
        assert CREATES[environment["COUNTERSIGN_STORE"].split("://")[0]] in result.stdout


def test_what_is_generated_is_up_to_date():
    result = run(sys.executable, ROOT / "scripts/chart.py", "check")
    assert result.returncode == 0, result.stderr
