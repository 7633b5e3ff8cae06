"""Checks objects against Kubernetes' own schemas, and against the definitions (CRDs) that others publish of theirs."""

import functools
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from conftest import TOOLS


class Loader(yaml.CSafeLoader):
    """Takes a lone `=`, which YAML 1.1 has a meaning for, as text."""


Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_yaml_str)


def strict(node: dict) -> dict:
    """A CRD's schema in which an unknown field is an error, unless the CRD keeps such fields."""
    result = {key: value for key, value in node.items() if key in ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "required")}
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in node:
        result["properties"] = {key: strict(value) for key, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(node["additionalProperties"])
    if isinstance(node.get("items"), dict):
        result["items"] = strict(node["items"])
    return result


def from_definition(definition: dict) -> dict[tuple[str, str], dict]:
    found = {}
    for version in definition["spec"]["versions"]:
        schema = version.get("schema", {}).get("openAPIV3Schema")
        if schema:
            closed = strict(schema)
            closed.setdefault("properties", {}).update(apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"})
            found[f"{definition['spec']['group']}/{version['name']}", definition["spec"]["names"]["kind"]] = closed
    return found


@functools.cache
def custom() -> dict[tuple[str, str], dict]:
    """Schemas by apiVersion and kind."""
    found = {}
    for file in sorted((TOOLS / "definitions").rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), Loader=Loader):
            if document and document.get("kind") == "CustomResourceDefinition":
                found |= from_definition(document)
    # Of those that no package carries, what this project uses of them.
    for file in sorted((Path(__file__).parent / "definitions").glob("*.json")):
        schema = json.loads(file.read_text())
        found[schema["apiVersion"], schema["kind"]] = schema["schema"]
    return found


def problems(item: dict, version: str) -> list[str]:
    """What is wrong with an object. An object of a kind that nothing is known of is wrong too."""
    key = item["apiVersion"], item["kind"]
    if key in custom():
        validator = jsonschema.Draft202012Validator(custom()[key])
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return [f"no schema of {key}"]
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []
