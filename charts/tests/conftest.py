"""Renders the chart with every file of values, by Helm 3 and Helm 4, once each."""

import functools
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "countersign"
TOOLS = Path(os.environ.get("COUNTERSIGN_CACHE", Path.home() / ".cache" / "countersign")) / "chart-tools"
KUBERNETES = "1.34.0"
HELMS = ("helm3", "helm4")

CASES = {path.name.removesuffix("-values.yaml"): ["-f", path] for path in sorted((CHART / "ci").glob("*-values.yaml"))}
CASES["ha"] = ["-f", CHART / "values-ha.yaml"]
CASES["demo"] = ["-f", CHART / "values-demo.yaml", "--set", "superAdministrators.existingSecret=super-administrators"]


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


def helm(program: str, *arguments) -> subprocess.CompletedProcess:
    return run(TOOLS / "bin" / program, *arguments, "--kube-version", KUBERNETES)


@functools.cache
def rendered_text(program: str, case: str) -> str:
    result = helm(program, "template", "messages", CHART, "--namespace", "north", *CASES[case])
    assert result.returncode == 0, result.stderr
    return result.stdout


@functools.cache
def rendered(case: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(rendered_text("helm4", case)) if document]


@functools.cache
def values(case: str) -> dict:
    """The values of a case, with the defaults."""

    def over(below, above):
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: over(below.get(key), value) for key, value in above.items()}

    merged = yaml.safe_load((CHART / "values.yaml").read_text())
    for option, value in zip(CASES[case][::2], CASES[case][1::2], strict=True):
        if option == "-f":
            merged = over(merged, yaml.safe_load(value.read_text()))
        else:
            path, text = value.split("=")
            for key in reversed(path.split(".")):
                text = {key: text}
            merged = over(merged, text)
    return merged


@pytest.fixture(params=sorted(CASES))
def case(request) -> str:
    return request.param


@pytest.fixture
def objects(case) -> list[dict]:
    return rendered(case)
