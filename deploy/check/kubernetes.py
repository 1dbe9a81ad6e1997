"""The manifests below deploy/kubernetes: as kubectl renders them, as Kubernetes reads them.

`python -m deploy.check.kubernetes` writes what is made of other files: the alert rules as objects.
"""

import json
import os
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import all_versions
from referencing import Registry, Resource

from config import ROOT
from deploy.check import Finding, _together
from deploy.check._together import Object
from deploy.local import programs

MANIFESTS: Final = ROOT / "deploy" / "kubernetes"
RULES: Final = ROOT / "deploy" / "prometheus"
RULES_AS_OBJECTS: Final = MANIFESTS / "components" / "monitoring" / "rules.yaml"
CUSTOM_RESOURCES: Final = Path(__file__).with_name("custom_resources.yaml")
#: Kubernetes supports the three newest; an upgrade comes from the one before.
VERSIONS: Final = sorted(set(all_versions()), key=all_versions().index)[-4:]
#: In this order in an overlay: one behind another may change what that has brought.
COMPONENTS: Final = (
    "keda",
    "hpa-workers",
    "rabbitmq",
    "postgres",
    "replicas",
    "postgres-exporter",
    "monitoring",
    "ingress-nginx",
)
#: Both would set the number of workers.
RIVALS: Final = {"keda", "hpa-workers"}
HEADER: Final = """\
# Made of deploy/prometheus/{file} by `python -m deploy.check.kubernetes`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: holdfast-{stem}
  labels: {{app.kubernetes.io/part-of: holdfast}}
spec:
"""


def check() -> None:
    if RULES_AS_OBJECTS.read_text() != rules_as_objects():
        raise Finding(f"{RULES_AS_OBJECTS.relative_to(ROOT)} is old: see its first line")
    found = {
        f"{title}: {finding}"
        for title, folder in every_overlay()
        for finding in findings(render(folder))
    }
    if found:
        raise Finding("\n".join(sorted(found)))


def every_overlay() -> Iterator[tuple[str, Path]]:
    """The overlays that are there, and one for each pair of components: what one changes of another
    shows in a pair."""
    for overlay in sorted((MANIFESTS / "overlays").iterdir()):
        yield overlay.name, overlay
    with tempfile.TemporaryDirectory() as folder:
        for names in chain.from_iterable(combinations(COMPONENTS, count) for count in range(3)):
            if not set(names) >= RIVALS:
                write_overlay(Path(folder), names)
                yield " + ".join(["base", *names]), Path(folder)


def write_overlay(folder: Path, components: tuple[str, ...]) -> None:
    """An overlay of the base and some components, in a folder anywhere."""
    manifests = os.path.relpath(MANIFESTS, folder.resolve())
    overlay = {
        "resources": [f"{manifests}/base"],
        "components": [f"{manifests}/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))


def render(folder: Path) -> list[Object]:
    """What `kubectl apply -k` would send."""
    ran = subprocess.run(
        [programs.program("kubectl"), "kustomize", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        # Debian 12's is older, and knows no components.
        raise Finding(f"{ran.stderr.strip()}\n(It takes a kubectl of 1.27 or newer.)")
    return [each for each in yaml.safe_load_all(ran.stdout) if each]


def findings(objects: list[Object]) -> Iterator[str]:
    """All that is wrong with the objects of one overlay."""
    unreadable = [
        f"{_together.title(each)}: {finding}"
        for each in objects
        for finding in _of_schema(json.dumps(each))
    ]
    if unreadable:
        yield from unreadable
        return
    yield from _together.findings(objects)


# --- schemas ---


@cache  # most objects are the same in most overlays
def _of_schema(text: str) -> tuple[str, ...]:
    """Text, for a key: an object as JSON."""
    each = json.loads(text)
    api = f"{each['apiVersion']} {each['kind']}"
    if api in _custom_resources():
        errors = _custom_resources()[api].iter_errors(each)
        return tuple(f"{error.json_path}: {error.message}" for error in errors)
    return tuple(_of_kubernetes(each))


def _of_kubernetes(each: Object) -> Iterator[str]:
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {error.json_path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{error.message}; is it in {CUSTOM_RESOURCES.name}?"


@cache
def _custom_resources() -> dict[str, Draft202012Validator]:
    """A validator by API; unknown fields are errors."""
    schemas = resources.files(kubernetes_validate) / "kubernetes-json-schema"
    newest = schemas / f"v{VERSIONS[-1]}-local-strict" / "_definitions.json"
    kubernetes = Resource.from_contents(json.loads(newest.read_text()))
    registry: Registry[Any] = kubernetes @ Registry()
    kinds = yaml.safe_load(CUSTOM_RESOURCES.read_text())
    return {
        api: Draft202012Validator(_whole(api, _closed(spec, kubernetes.id())), registry=registry)
        for api, spec in kinds.items()
    }


def _whole(api: str, spec: Object) -> Object:
    version, kind = api.split()
    metadata: Object = {
        "properties": {name: {} for name in ("name", "namespace", "labels", "annotations")}
    }
    properties = {
        "apiVersion": {"const": version}, "kind": {"const": kind},
        "metadata": _closed(metadata, None), "spec": spec,
    }  # fmt: skip
    return {"properties": properties, "required": [*properties], "additionalProperties": False}


def _closed(schema: Any, kubernetes: str | None) -> Any:
    """As a strict API server reads it: what has properties has no others."""
    if isinstance(schema, list):
        return [_closed(each, kubernetes) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each, kubernetes) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed |= {"type": "object", "additionalProperties": False}
    if isinstance(schema.get("$ref"), str):
        closed["$ref"] = schema["$ref"].replace("kubernetes:", f"{kubernetes}#/$defs/")
    return closed


# --- what is made of other files ---


def rules_as_objects() -> str:
    """Prometheus' own rule files, each as an object of the Prometheus Operator.

    kustomize puts no file of another kind into a field of an object.
    """
    files = [
        file for file in sorted(RULES.glob("*.yml")) if "groups" in yaml.safe_load(file.read_text())
    ]
    return "---\n".join(
        HEADER.format(file=file.name, stem=file.stem) + textwrap.indent(file.read_text(), "  ")
        for file in files
    )


if __name__ == "__main__":
    RULES_AS_OBJECTS.write_text(rules_as_objects())
