"""The check of the manifests finds what is wrong with them."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import ROOT, parse
from deploy.check import Finding, kubernetes
from deploy.check._together import AUTOSCALERS, SECRETS, Object, connections_max, title
from deploy.check.kubernetes import MANIFESTS, findings, render, write_overlay


@pytest.fixture(scope="module")
def rendered() -> list[Object]:
    return render(MANIFESTS / "overlays" / "production")


class Deployed:
    """The objects of the production overlay, to be broken."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = deepcopy(objects)

    def __getitem__(self, wanted: str) -> Any:
        """By kind and name."""
        return next(each for each in self.objects if title(each) == wanted)

    @property
    def web(self) -> Any:
        """The pod of the front door."""
        return self["Deployment holdfast-web"]["spec"]["template"]["spec"]

    @property
    def migrate(self) -> Any:
        """The pod of the migrations."""
        return next(e for e in self.objects if e["kind"] == "Job")["spec"]["template"]["spec"]

    @property
    def settings(self) -> Any:
        return next(e for e in self.objects if e["kind"] == "ConfigMap")["data"]

    @property
    def container(self) -> Any:
        return self.web["containers"][0]

    def ask(self, query: str) -> None:
        """The workers' autoscaler asks Prometheus for something else."""
        self["ScaledObject holdfast-worker"]["spec"]["triggers"][0]["metadata"]["query"] = query

    def take_out(self, unwanted: str) -> None:
        self.objects.remove(self[unwanted])


def test_nothing_is_wrong_with_what_is_deployed(rendered: list[Object]) -> None:
    assert len(rendered) > 30
    assert list(findings(rendered)) == []


#: What is broken, how, and what is said of it.
BREAKS: dict[str, tuple[Callable[[Deployed], Any], str]] = {
    "an unknown field": (
        lambda d: d.container.update(livenesProbe={}),
        "('livenesProbe' was unexpected)",
    ),
    "a wrong type": (
        lambda d: d.container["ports"][0].update(containerPort="8000"),
        "'8000' is not of type 'integer'",
    ),
    "an API that went long ago": (
        lambda d: d["PodDisruptionBudget holdfast-web"].update(apiVersion="policy/v1beta1"),
        "Couldn't find schema for kind PodDisruptionBudget",
    ),
    "an unknown field of an operator's resource": (
        lambda d: d["Cluster holdfast-postgres"]["spec"].update(replicas=3),
        "Cluster holdfast-postgres: $.spec: Additional properties are not allowed ('replicas'",
    ),
    "a wrong type in an operator's resource": (
        lambda d: d["RabbitmqCluster holdfast-rabbitmq"]["spec"].update(replicas="3"),
        "$.spec.replicas: '3' is not of type 'integer'",
    ),
    "a value that an operator does not know": (
        lambda d: d["Cluster holdfast-postgres"]["spec"]["postgresql"]["synchronous"].update(
            dataDurability="always"
        ),
        "'always' is not one of ['required', 'preferred']",
    ),
    "an unknown field of Kubernetes' in an operator's resource": (
        lambda d: d["RabbitmqCluster holdfast-rabbitmq"]["spec"]["affinity"].update(podAfinity={}),
        "'podAfinity' was unexpected",
    ),
    "text where an operator has an object": (
        lambda d: d["ScaledObject holdfast-worker"]["spec"].update(advanced="4"),
        "$.spec.advanced: '4' is not of type 'object'",
    ),
    "a missing probe": (
        lambda d: d.container.pop("readinessProbe"),
        "Deployment holdfast-web: has no readinessProbe",
    ),
    "a missing limit": (
        lambda d: d.container["resources"]["limits"].pop("memory"),
        "holdfast: has no limits of memory",
    ),
    "a container that may write to its image": (
        lambda d: d.web["initContainers"][0]["securityContext"].update(
            readOnlyRootFilesystem=False
        ),
        "wait-for-migrations: may write to its image",
    ),
    "a pod of anybody": (
        lambda d: d.web.pop("securityContext"),
        "runs as anybody",
    ),
    "a pod of anybody, and of somebody else's image": (
        lambda d: d["Deployment holdfast-postgres-exporter"]["spec"]["template"]["spec"].pop(
            "securityContext"
        ),
        "Deployment holdfast-postgres-exporter: runs as anybody",
    ),
    "a pod with a token": (
        lambda d: d.web.pop("automountServiceAccountToken"),
        "has a token of Kubernetes",
    ),
    "a Job that changes with the settings": (
        lambda d: d.migrate["containers"][0].update(envFrom=[{"configMapRef": {"name": "x"}}]),
        "changes with the settings, and a Job can't be changed",
    ),
    "a variable that is no setting": (
        lambda d: d.container["env"].append({"name": "DATABSE_URL", "value": ""}),
        "DATABSE_URL is no setting",
    ),
    "a setting that is none": (
        lambda d: d.settings.update(ENVIROMENT="x"),
        "ENVIROMENT is no setting",
    ),
    "a setting of a senseless value": (
        lambda d: d.settings.update(LOG_LEVEL="loud"),
        "LOG_LEVEL is 'loud'; it must be debug, error, info or warning",
    ),
    "less patience than a worker needs": (
        lambda d: d.settings.update(SHUTDOWN_GRACE_MS="60000"),
        "Deployment holdfast-worker: is killed before 70 s",
    ),
    "an autoscaler that asks for what nobody records": (
        lambda d: d.ask('oldest_order{namespace="holdfast"}'),
        "ScaledObject holdfast-worker: no rule records oldest_order",
    ),
    "an autoscaler that asks for the orders of another namespace": (
        lambda d: d.ask('namespace:holdfast_oldest_order_age_seconds:max{namespace="shop"}'),
        "ScaledObject holdfast-worker: asks for namespace shop",
    ),
    "more workers than PostgreSQL has connections": (
        lambda d: d["ScaledObject holdfast-worker"]["spec"].update(maxReplicaCount=20),
        "take 237 connections, more than 80% of max_connections (200)",
    ),
    "more threads than PostgreSQL has connections": (
        lambda d: d.settings.update(WORKER_THREADS="32"),
        "Cluster holdfast-postgres: as many pods as the autoscalers allow take 345 connections",
    ),
    "another port than the settings have": (
        lambda d: d.container["ports"][1].update(containerPort=9465),
        "by the settings its ports are {'metrics': 9464, 'http': 8000}",
    ),
    "a probe of another's port": (
        lambda d: d.container["livenessProbe"]["httpGet"].update(port="https"),
        "its livenessProbe asks a port that it does not have",
    ),
    "a Service to a port that is not there": (
        lambda d: d["Service holdfast-web"]["spec"]["ports"][0].update(targetPort="https"),
        "Deployment holdfast-web: has no port https, to which Service holdfast-web leads",
    ),
    "a Service that selects nothing": (
        lambda d: d["Service holdfast-web"]["spec"]["selector"].update(
            {"app.kubernetes.io/component": "front"}
        ),
        "Service holdfast-web: selects no pods",
    ),
    "a Deployment of others' pods": (
        lambda d: d["Deployment holdfast-web"]["spec"]["selector"]["matchLabels"].update(x="y"),
        "Deployment holdfast-web: does not select its own pods",
    ),
    "a Deployment that may be taken away at once": (
        lambda d: d.take_out("PodDisruptionBudget holdfast-worker"),
        "Deployment holdfast-worker: has not one PodDisruptionBudget",
    ),
    "two who say how many": (
        lambda d: d["Deployment holdfast-worker"]["spec"].update(replicas=3),
        "Deployment holdfast-worker: several say how many there are",
    ),
    "an autoscaler of nothing": (
        lambda d: d.take_out("Deployment holdfast-worker"),
        "Deployment holdfast-worker: is scaled and not there",
    ),
    "a way to DNS that leads to our own pods": (
        lambda d: d["NetworkPolicy holdfast-to-dns"]["spec"]["egress"][0]["to"][0].update(
            podSelector={"matchLabels": {"app.kubernetes.io/name": "holdfast"}}
        ),
        "NetworkPolicy holdfast-to-dns: has our labels where another namespace's pods are meant",
    ),
    "settings that are not there": (
        lambda d: d.objects.remove(next(e for e in d.objects if e["kind"] == "ConfigMap")),
        "there is no ConfigMap holdfast-",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_the_check_finds(what: str, rendered: list[Object]) -> None:
    deployed = Deployed(rendered)
    break_, said = BREAKS[what]

    break_(deployed)

    found = list(findings(deployed.objects))
    assert any(said in finding for finding in found), found


def test_the_connections_are_those_that_the_page_adds_up(rendered: list[Object]) -> None:
    deployed = Deployed(rendered)
    given = parse({**SECRETS, **deployed.settings})
    postgres = deployed["Cluster holdfast-postgres"]["spec"]["postgresql"]["parameters"]
    page = (ROOT / "docs" / "deploy" / "kubernetes.md").read_text()

    # As 7 × 5 + 9 × 9 + 4 = 120: pods at most and one more, by the connections of each
    ((addends, total),) = re.findall(r"`([\d×+ ]+) = (\d+)`", page)
    products = [[int(n) for n in addend.split("×")] for addend in addends.split("+")]

    assert sum(prod(product) for product in products) == int(total)
    assert int(total) == connections_max(rendered, given)
    assert f"`max_connections` is {postgres['max_connections']}" in page


def test_there_are_no_more_workers_than_transactions_at_once(rendered: list[Object]) -> None:
    deployed = Deployed(rendered)
    given = parse({**SECRETS, **deployed.settings})
    most = deployed["ScaledObject holdfast-worker"]["spec"]["maxReplicaCount"]
    (by_cpu,) = yaml.safe_load_all(
        (MANIFESTS / "components" / "hpa-workers" / "hpa.yaml").read_text()
    )

    # Each makes one at a time: another worker would only wait.
    assert most == by_cpu["spec"]["maxReplicas"] == given.transactions_at_once


def test_no_worker_scales_by_the_number_of_messages(rendered: list[Object]) -> None:
    scaled = json.dumps([each for each in rendered if each["kind"] in AUTOSCALERS])

    assert "rabbitmq" not in scaled
    assert "QueueLength" not in scaled
    # Nor does anybody but our own pods need a way to RabbitMQ's clients' port.
    policy = json.dumps(Deployed(rendered)["NetworkPolicy holdfast-rabbitmq"]["spec"])
    assert "keda" not in policy


def test_the_servers_are_those_of_compose(rendered: list[Object]) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    # The operator writes who may come in by itself.
    options = [
        each
        for each in services["postgres"]["command"]
        if each.startswith("--") and not each.startswith("--hba_file")
    ]
    deployed = Deployed(rendered)
    postgres = deployed["Cluster holdfast-postgres"]["spec"]
    rabbitmq = deployed["RabbitmqCluster holdfast-rabbitmq"]["spec"]
    (exporter,) = deployed["Deployment holdfast-postgres-exporter"]["spec"]["template"]["spec"][
        "containers"
    ]

    assert postgres["postgresql"]["parameters"] == dict(
        each.removeprefix("--").split("=") for each in options
    )
    assert release(postgres["imageName"]) == release(services["postgres"]["image"])
    assert release(rabbitmq["image"]) == release(services["rabbitmq"]["image"])
    assert exporter["image"] == services["postgres-exporter"]["image"]


def release(image: str) -> str:
    return re.split("[:-]", image.rpartition("/")[2])[1]


def test_what_kubectl_can_not_render_is_a_finding(tmp_path: Path) -> None:
    write_overlay(tmp_path, ("zookeeper",))

    with pytest.raises(Finding, match="zookeeper"):
        render(tmp_path)


def test_two_autoscalers_of_the_same_workers_are_a_finding(tmp_path: Path) -> None:
    write_overlay(tmp_path, ("keda", "hpa-workers"))

    assert list(findings(render(tmp_path))) == [
        "Deployment holdfast-worker: several say how many there are"
    ]


def test_every_component_is_in_the_check() -> None:
    there = {each.name for each in (MANIFESTS / "components").iterdir()}

    assert set(kubernetes.COMPONENTS) == there


def test_alert_rules_that_were_changed_in_one_place_only_are_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = (kubernetes.RULES / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(rules.replace("> 60", "> 90"))
    monkeypatch.setattr(kubernetes, "RULES", tmp_path)

    with pytest.raises(Finding, match=r"rules\.yaml is old"):
        kubernetes.check()
