"""Central logs: the index template, the life cycle, Filebeat's configuration and Kibana's objects.

Neither Elasticsearch nor Kibana has a validator apart from itself; what is looked at here is what
the parts promise each other, and the types that the Elastic Common Schema gives its fields.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from config import ROOT
from deploy.check import Finding

FOLDER: Final = ROOT / "deploy" / "logging"
FIELDS: Final = Path(__file__).parent / "ecs_fields.csv"
#: Not of the schema: ours, and one of OpenTelemetry's.
OWN: Final = ("holdfast.", "http.route")


def check() -> None:
    template, policy = _json("index-template.json"), _json("ilm-policy.json")
    fields = mapped(template)
    schema = _schema()
    for name, kind in fields.items():
        if not name.startswith(OWN) and schema.get(name) != kind:
            raise Finding(f"{name} is a {kind}; in the schema {schema.get(name, 'it is not')}.")
    if unused := schema.keys() - fields.keys():
        raise Finding(f"No line has the fields {sorted(unused)}; take them out of {FIELDS.name}.")
    phases = policy["policy"]["phases"]
    if "rollover" not in phases["hot"]["actions"] or "delete" not in phases["delete"]["actions"]:
        raise Finding("The life cycle has no end.")
    _check_filebeat(template)
    _check_kibana(fields)


def mapped(template: dict[str, Any]) -> dict[str, str]:
    """The type of each field that is indexed, by its dotted name."""
    return dict(_flat(template["template"]["mappings"]["properties"]))


def not_covered(line: dict[str, Any], fields: dict[str, str]) -> list[str]:
    """What a log line has that is not indexed, or that Elasticsearch would not take as its type."""
    found = []
    for name, value in _leaves(line):
        kind = fields.get(name)
        if kind is None or not _fits(value, kind):
            found.append(f"{name}: {value!r} is no {kind}")
    return found


def _flat(properties: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, definition in properties.items():
        if "properties" in definition:
            yield from _flat(definition["properties"], f"{before}{name}.")
        else:
            yield f"{before}{name}", definition["type"]


def _leaves(line: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, list):
        return all(_fits(one, kind) for one in value)
    if value is None:
        return True
    if kind == "long":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "date":
        return isinstance(value, str) and _is_time(value)
    return isinstance(value, str)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _schema() -> dict[str, str]:
    lines = FIELDS.read_text().splitlines()
    return dict(line.split(",") for line in lines if not line.startswith("#"))


def _check_filebeat(template: dict[str, Any]) -> None:
    given = yaml.safe_load((FOLDER / "filebeat.yml").read_text())
    index = given["output.elasticsearch"]["index"]
    (pattern,) = template["index_patterns"]
    if "data_stream" not in template or not index.startswith(pattern.removesuffix("*")):
        raise Finding(f"Filebeat writes to {index}, for which there is no template.")
    if given["setup.template.enabled"] or given["setup.ilm.enabled"]:
        raise Finding("Filebeat would put a template of its own over ours.")
    (source,) = given["filebeat.inputs"]
    if [next(iter(parser)) for parser in source["parsers"]] != ["container", "ndjson"]:
        raise Finding("Filebeat does not read what an engine writes, and then our JSON in it.")


def _check_kibana(fields: dict[str, str]) -> None:
    """Each object's references are there, its inner JSON is JSON, its columns are fields."""
    text = (FOLDER / "kibana.ndjson").read_text()
    objects = [json.loads(line) for line in text.splitlines()]
    there = {(one["type"], one["id"]) for one in objects}
    if len(there) != len(objects):
        raise Finding("Two objects of Kibana have the same id.")
    for one in objects:
        refers = {(ref["type"], ref["id"]) for ref in one["references"]}
        if not refers <= there:
            raise Finding(f"{one['id']} refers to {refers - there}, which is not there.")
        attributes = one["attributes"]
        for name in attributes.keys() & {"visState", "panelsJSON", "optionsJSON", "uiStateJSON"}:
            json.loads(attributes[name])
        asked = set(attributes.get("columns", []))
        for part in json.loads(attributes.get("visState", "{}")).get("aggs", []):
            asked |= {part["params"]["field"]} if "field" in part["params"] else set()
        if unknown := asked - fields.keys():
            raise Finding(f"{one['id']} shows {sorted(unknown)}, which no line has.")
        names = {ref["name"] for ref in one["references"]}
        for panel in json.loads(attributes.get("panelsJSON", "[]")):
            if f"{panel['panelIndex']}:{panel['panelRefName']}" not in names:
                raise Finding(f"{one['id']}: a panel refers to nothing.")


def _json(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())
