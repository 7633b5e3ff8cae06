"""Writes what is generated in charts/countersign: README.md, values.schema.json and files/.

    chart.py write    writes all of it
    chart.py check    says what is not as it would be written; exit code 1 if anything is

README.md is made of README.template.md and the comments in values.yaml, values.schema.json of charts/schema.yaml and the settings in
service/src/config/mod.rs; files/ has copies, since Helm reads nothing outside of a chart.
"""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "countersign"
COPIES = {"dashboards": ("grafana/dashboards", "*.json"), "rules": ("prometheus/rules", "*.yaml")}


def settings() -> list[dict]:
    """Every setting of the service: name, type as Rust has it, default or None."""
    source = (ROOT / "service/src/config/mod.rs").read_text()
    line = re.compile(r'^ +(\w+): (\w+)(?: = "([^"]*)")?, "(COUNTERSIGN_\w+)";$', re.MULTILINE)
    found = [{"name": name, "type": kind, "default": default} for name, kind, default in (m.group(1, 2, 3) for m in line.finditer(source))]
    if len(found) != source.count('"COUNTERSIGN_'):
        sys.exit("chart.py does not understand every setting of service/src/config/mod.rs any more")
    return found


def setting_type(kind: str) -> dict:
    if kind == "HumanDuration":
        return {"$ref": "#/definitions/duration"}
    if kind in ("usize", "u32", "u64"):
        return {"$ref": "#/definitions/count"}
    if kind == "bool":
        return {"type": "boolean"}
    if kind in ("NonZeroUsize", "NonZeroU32"):
        return {"$ref": "#/definitions/atLeastOne"}
    return {"type": "string"}


def closed(node, names: set[str]):
    """A node of charts/schema.yaml as JSON Schema: names become references, objects with properties are closed."""
    if isinstance(node, str):
        if node not in names:
            sys.exit(f"charts/schema.yaml: there is no definition {node}")
        return {"$ref": f"#/definitions/{node}"}
    result = dict(node)
    if "properties" in node:
        result["type"] = "object"
        result["properties"] = {key: closed(value, names) for key, value in node["properties"].items()}
        result.setdefault("additionalProperties", False)
    return result


def schema() -> str:
    source = yaml.safe_load((ROOT / "charts/schema.yaml").read_text())
    names = set(source["definitions"])
    # What is about one object of Kubernetes is open: its other fields are Kubernetes' business.
    open_ones = {"variables", "objectReferences"}
    definitions = {name: node if name in open_ones else closed(node, names) for name, node in source["definitions"].items()}
    properties = {name: closed(node, names) for name, node in source["properties"].items()}
    properties["config"]["properties"] = {setting["name"]: setting_type(setting["type"]) for setting in settings()}
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart countersign. Generated from charts/schema.yaml",
        "type": "object",
        "additionalProperties": False,
        "definitions": definitions,
        "properties": properties,
    }
    return json.dumps(document, indent=2) + "\n"


def rows() -> list[tuple[str, str, str]]:
    """Documented values: path, default, comment. And of each section its introduction: path, "", comment."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    found, path, comment, documented = [], [], [], False
    for line in text.splitlines():
        if match := re.match(r"^ *# (-- )?(.*)$", line):
            documented = documented or match[1] is not None
            comment.append(match[2])
        elif match := re.match(r"^( *)([\w]+):", line):
            depth = len(match[1]) // 2
            del path[depth:]
            path.append(match[2])
            if comment and (documented or depth == 0):
                value = values
                for key in path:
                    value = value[key]
                default = json.dumps(value, ensure_ascii=False) if documented else ""
                found.append((".".join(path), default, " ".join(comment)))
            comment, documented = [], False
        else:
            comment, documented = [], False
    return found


def row(path: str, default: str, comment: str) -> str:
    shown = f"`{default}`" if len(default) <= 60 else "see `values.yaml`"
    return f"| `{path}` | {shown} | {comment.replace('|', '&#124;')} |"


def table() -> str:
    """First the values that are not in a group, then each group."""
    head = ["", "| value | default | |", "|---|---|---|"]
    all_rows = rows()
    single = [row(*entry) for entry in all_rows if entry[1] and "." not in entry[0]]
    lines = head + single
    groups = list(dict.fromkeys(path.split(".")[0] for path, default, _ in all_rows if "." in path or not default))
    for group in groups:
        introduction = [comment for path, default, comment in all_rows if path == group and not default]
        lines += ["", f"### `{group}`", *([""] if introduction else []), *introduction]
        lines += head + [row(*entry) for entry in all_rows if entry[1] and entry[0].startswith(f"{group}.")]
    return "\n".join(lines).strip() + "\n"


def readme() -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    template = (ROOT / "charts/README.template.md").read_text()
    return template.replace("{{version}}", chart["version"]).replace("{{appVersion}}", str(chart["appVersion"])).replace("{{values}}", table().rstrip())


def defaults() -> str:
    head = "# Every setting of the service that has a default. Generated from service/src/config/mod.rs.\n"
    lines = [f"{setting['name']}: {json.dumps(setting['default'])}" for setting in settings() if setting["default"] is not None]
    return head + "\n".join(lines) + "\n"


def generated() -> dict[Path, str]:
    files = {CHART / "README.md": readme(), CHART / "values.schema.json": schema(), CHART / "files/settings.yaml": defaults()}
    for folder, (source, pattern) in COPIES.items():
        for file in sorted((ROOT / source).glob(pattern)):
            files[CHART / "files" / folder / file.name] = file.read_text()
    return files


def main() -> None:
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.exit(__doc__)
    files = generated()
    surplus = [file for file in sorted((CHART / "files").rglob("*")) if file.is_file() and file not in files]
    different = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    if sys.argv[1] == "write":
        for file in surplus:
            file.unlink()
        for file in different:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(files[file])
    elif surplus or different:
        names = [str(file.relative_to(ROOT)) for file in surplus + different]
        sys.exit("Not as they would be generated; `make chart` writes them: " + ", ".join(names))


main()
