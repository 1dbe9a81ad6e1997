"""What no schema says of manifests: pods are sealed, and what belongs together fits together."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

from config import Settings, SettingsError, parse

Object = dict[str, Any]

#: What comes from Secrets, for the settings to be whole.
SECRETS: Final = {
    "DATABASE_URL": "postgresql://somebody:something@somewhere/else",
    "RABBITMQ_URL": "amqp://somewhere",
    "SECRET_KEY": "s" * 32,
}
#: A worker that stops needs so much more than SHUTDOWN_GRACE_MS: docs/deploy/README.md.
GRACE_BEYOND_S: Final = 10
#: How objects name others, in JSON.
REFERENCES: Final = {
    "ConfigMap": r'"configMapRef": \{"name"',
    "Service": r'"service": \{"name"',
    "ServiceAccount": '"serviceAccountName"',
}
OUR_LABELS: Final = {"app.kubernetes.io/name", "app.kubernetes.io/part-of"}
AUTOSCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
#: Connections to PostgreSQL of a clock, of a front door beside READ_THREADS, and of a worker beside
#: WORKER_THREADS: for what it reports, and to look whether the database is well.
CLOCK_CONNECTIONS: Final = 3
FURTHER_CONNECTIONS: Final = 1
EXPORTER_CONNECTIONS: Final = 3
#: PostgresConnectionsNearlyFull fires beyond.
CONNECTIONS_SHARE_MAX: Final = 0.8
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")


def title(of: Object) -> str:
    return f"{of['kind']} {of['metadata']['name']}"


def _is_ours(of: Object) -> bool:
    """Whether it runs this image, rather than somebody else's beside it."""
    return bool(of["metadata"]["labels"]["app.kubernetes.io/name"] == "holdfast")


def findings(objects: list[Object]) -> Iterator[str]:
    """objects: of one overlay, as their schemas have them."""
    count = Counter(title(each) for each in objects)
    yield from (f"{each}: is there {times} times" for each, times in count.items() if times > 1)
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            yield from (f"{title(each)}: {finding}" for finding in _of_pods(each))
    yield from _of_references(objects)
    yield from _of_policies(objects)
    yield from _of_queries(objects)
    for settings in (each for each in objects if each["kind"] == "ConfigMap"):
        try:
            given = parse({**SECRETS, **settings["data"]})
        except SettingsError as error:
            yield f"{title(settings)}: {error}"
            continue
        yield from (f"{title(settings)}: {finding}" for finding in _unknown(settings["data"]))
        yield from _of_deployments(objects, given)
        yield from _of_connections(objects, given)


def _of_pods(each: Object) -> Iterator[str]:
    pod = each["spec"]["template"]["spec"]
    secured = pod.get("securityContext", {})
    if not secured.get("runAsNonRoot") or not secured.get("seccompProfile"):
        yield "runs as anybody, or without seccomp"
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token of Kubernetes"
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        for finding in _of_container(container, ours=_is_ours(each)):
            yield f"{container['name']}: {finding}"
    if each["kind"] == "Job" and "configMapRef" in json.dumps(pod):
        yield "changes with the settings, and a Job can't be changed"


def _of_container(container: Object, *, ours: bool) -> Iterator[str]:
    for bound in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            if resource not in container.get("resources", {}).get(bound, {}):
                yield f"has no {bound} of {resource}"
    secured = container.get("securityContext", {})
    if (
        secured.get("allowPrivilegeEscalation") is not False
        or secured.get("readOnlyRootFilesystem") is not True
        or secured.get("capabilities") != {"drop": ["ALL"]}
    ):
        yield "may write to its image, or gain rights"
    if ours:
        # What others are made of need not be one.
        parts = set(re.findall(r"\$\((\w+)\)", json.dumps(container)))
        yield from _unknown({variable["name"] for variable in container.get("env", [])} - parts)


def _unknown(variables: Iterable[str]) -> Iterator[str]:
    known = {field.upper() for field in Settings.__struct_fields__}
    yield from (f"{name} is no setting" for name in sorted(set(variables) - known))


def _of_references(objects: list[Object]) -> Iterator[str]:
    """What is named is there, but for Secrets: they are made by operators, and by hand."""
    there = {title(each) for each in objects}
    for each in objects:
        for kind, reference in REFERENCES.items():
            for name in re.findall(reference + r': "([^"]+)"', json.dumps(each)):
                if f"{kind} {name}" not in there:
                    yield f"{title(each)}: there is no {kind} {name}"


def _of_policies(objects: list[Object]) -> Iterator[str]:
    """Labels of ours, which kustomize adds by itself, are on no pod of another namespace."""
    for each in objects:
        if each["kind"] != "NetworkPolicy":
            continue
        rules = [*each["spec"].get("egress", []), *each["spec"].get("ingress", [])]
        for peer in (peer for rule in rules for peer in rule.get("to", rule.get("from", []))):
            ours = peer.get("podSelector", {}).get("matchLabels", {}).keys() & OUR_LABELS
            if "namespaceSelector" in peer and ours:
                yield f"{title(each)}: has our labels where another namespace's pods are meant"


def _of_queries(objects: list[Object]) -> Iterator[str]:
    """What autoscalers ask Prometheus for is recorded, and of this namespace."""
    rules = [each for each in objects if each["kind"] == "PrometheusRule"]
    recorded = set(re.findall(r'"record": "([^"]+)"', json.dumps(rules)))
    for each in (each for each in objects if each["kind"] == "ScaledObject"):
        for trigger in each["spec"]["triggers"]:
            query = trigger["metadata"].get("query", "")
            for name, namespace in re.findall(r'([\w:]+)\{namespace="([^"]*)"\}', query):
                if rules and name not in recorded:
                    yield f"{title(each)}: no rule records {name}"
                if namespace != each["metadata"].get("namespace", namespace):
                    yield f"{title(each)}: asks for namespace {namespace}"


def connections_max(objects: list[Object], given: Settings) -> int:
    """Connections to PostgreSQL with as many pods as the autoscalers allow, while all roll out."""
    pods: dict[str, int] = {
        each["metadata"]["name"]: each["spec"].get("replicas", 1)
        for each in objects
        if each["kind"] == "Deployment"
    }
    for each in objects:
        if each["kind"] in AUTOSCALERS:
            spec = each["spec"]
            pods[spec["scaleTargetRef"]["name"]] = (
                spec.get("maxReplicas") or spec["maxReplicaCount"]
            )
    of_a_pod = {
        "holdfast-web": given.web_concurrency * (given.read_threads + FURTHER_CONNECTIONS),
        "holdfast-worker": given.worker_processes * (given.worker_threads + FURTHER_CONNECTIONS),
        "holdfast-clock": CLOCK_CONNECTIONS,
    }
    # One more of each while it rolls out.
    ours = sum((pods[name] + 1) * count for name, count in of_a_pod.items())
    exporters = EXPORTER_CONNECTIONS * ("holdfast-postgres-exporter" in pods)
    migrations = [each["kind"] for each in objects].count("Job")
    return ours + exporters + migrations


def _of_connections(objects: list[Object], given: Settings) -> Iterator[str]:
    for each in (each for each in objects if each["kind"] == "Cluster"):
        most = int(each["spec"]["postgresql"]["parameters"]["max_connections"])
        wanted = connections_max(objects, given)
        if wanted > CONNECTIONS_SHARE_MAX * most:
            yield (
                f"{title(each)}: as many pods as the autoscalers allow take {wanted} connections, "
                f"more than {CONNECTIONS_SHARE_MAX:.0%} of max_connections ({most})"
            )


def _of_deployments(objects: list[Object], given: Settings) -> Iterator[str]:
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    services = [each for each in objects if each["kind"] == "Service"]
    budgets = [each["spec"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    scaled = Counter(
        each["spec"]["scaleTargetRef"]["name"] for each in objects if each["kind"] in AUTOSCALERS
    )
    for each in deployments:
        for finding in (
            *_of_number(each, scaled.pop(each["metadata"]["name"], 0)),
            *_of_selectors(each, budgets),
            *_of_probes(each),
            *_of_settings(each, given),
            *_of_services(each, services),
        ):
            yield f"{title(each)}: {finding}"
    yield from (f"Deployment {name}: is scaled and not there" for name in scaled)
    for service in services:
        selector = {"matchLabels": service["spec"]["selector"]}
        if not any(_selects(selector, each) for each in deployments):
            yield f"{title(service)}: selects no pods"


def _of_number(each: Object, autoscalers: int) -> Iterator[str]:
    if autoscalers > 1 or (autoscalers and "replicas" in each["spec"]):
        yield "several say how many there are"


def _of_selectors(each: Object, budgets: list[Object]) -> Iterator[str]:
    if not _selects(each["spec"]["selector"], each):
        yield "does not select its own pods"
    if _is_ours(each) and sum(_selects(budget["selector"], each) for budget in budgets) != 1:
        yield "has not one PodDisruptionBudget"


def _of_probes(each: Object) -> Iterator[str]:
    (container,) = each["spec"]["template"]["spec"]["containers"]
    for probe in PROBES:
        if probe not in container:
            yield f"has no {probe}"
        elif container[probe].get("httpGet", {}).get("port") not in _ports(container):
            yield f"its {probe} asks a port that it does not have"


def _of_settings(each: Object, given: Settings) -> Iterator[str]:
    """Ports and patience are those of the settings."""
    if not _is_ours(each):
        return
    role = each["metadata"]["labels"]["app.kubernetes.io/component"]
    pod = each["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = _ports(container)
    wanted = {"metrics": getattr(given, f"{role}_metrics_port")}
    if role == "web":
        wanted["http"] = given.port
    if ports != wanted:
        yield f"by the settings its ports are {wanted}"
    needed_s = given.shutdown_grace_ms / 1000 + GRACE_BEYOND_S
    if role == "worker" and pod.get("terminationGracePeriodSeconds", 30) < needed_s:
        yield f"is killed before {needed_s:.0f} s, while it finishes what it has begun"


def _of_services(each: Object, services: list[Object]) -> Iterator[str]:
    (container,) = each["spec"]["template"]["spec"]["containers"]
    ports = _ports(container)
    for service in services:
        if _selects({"matchLabels": service["spec"]["selector"]}, each):
            targets = [port["targetPort"] for port in service["spec"]["ports"]]
            for missing in set(targets) - ports.keys():
                yield f"has no port {missing}, to which {title(service)} leads"


def _ports(container: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def _selects(selector: Object, pods_of: Object) -> bool:
    labels: dict[str, str] = pods_of["spec"]["template"]["metadata"]["labels"]
    return set(selector["matchLabels"].items()) <= set(labels.items())
