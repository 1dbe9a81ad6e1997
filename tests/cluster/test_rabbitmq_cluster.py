"""A cluster of three brokers loses nodes under load: every order is decided once, and soon."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

import httpx
import pytest

from actors.commands import ROUTES
from tests.cluster.broker_rig import ClusterRig
from tests.conftest import eventually
from tests.torture.checker import RECOVERY_S_MAX, check
from tests.torture.history import Blackout, Event, History
from tests.torture.load import Load
from tests.torture.proxy import Mode
from tests.torture.watch import Watch

SEED: Final = 1
RATE_PER_S: Final = 60.0
#: Until there is something of everything on its way.
UNDER_WAY_S: Final = 2.0
DRAINED_S_MAX: Final = 60.0
pytestmark = pytest.mark.timeout(420)
LEADERLESS_S: Final = 1.0
#: A node of 3.10 that comes back may pause once more, with what clients have moved to it.
ALL_BACK_S_MAX: Final = 120.0
STAYS_S: Final = 5.0
SAMPLED: Final = "SELECT EXISTS (SELECT FROM queue_stats WHERE at > %s)"


class Stage(NamedTuple):
    """The service on its cluster, under load."""

    rig: ClusterRig
    history: History
    load: Load
    watch: Watch

    @contextmanager
    def endures(self, what: str) -> Iterator[None]:
        """What is done in the block stays so, and yet all goes on, soon after its end."""
        self.wait(UNDER_WAY_S)
        yield
        began_s = self.history.now_s()
        eventually(
            lambda: self.load.probe() and self.watch.undecided(began_s) == 0,
            within_s=RECOVERY_S_MAX, what=f"all is decided again: {what}",
        )  # fmt: skip
        recovered_s = self.history.now_s() - began_s
        self.history.add(Event(what, began_s, began_s, True, recovered_s))
        print(f"\n{what}: orders are decided again after {recovered_s:.1f} s", flush=True)

    def wait(self, seconds: float) -> None:
        until_s = self.history.now_s() + seconds
        eventually(lambda: self.history.now_s() > until_s, within_s=seconds + 5)

    def holds_every_promise(self) -> None:
        """All nodes are back: everything is decided, once, and nothing is left anywhere."""
        with self.load.held():
            try:
                eventually(
                    lambda: self.watch.undecided(self.history.now_s()) == 0,
                    within_s=ALL_BACK_S_MAX, what="all is decided",
                )  # fmt: skip
                eventually(
                    lambda: not self.rig.backlog(), within_s=DRAINED_S_MAX,
                    what="no message is left",
                )  # fmt: skip
            except pytest.fail.Exception:
                print(self.watch.undecided(self.history.now_s()), "undecided;", self.rig.queues())
                raise
            verdict = check(self.rig, self.history.path)
        print(
            f"{verdict.accepted} orders taken, {verdict.decided} decided, {verdict.lost} lost,"
            f" {verdict.duplicated} twice, {verdict.oversold} units oversold,"
            f" {verdict.unknown} answers unknown",
            flush=True,
        )
        assert verdict.broken == []
        assert self.watch.out_of_balance == []
        assert self.load.server_errors == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        rig = stack.enter_context(ClusterRig(tmp_path_factory.mktemp("cluster")))
        history = History(rig.folder / "history.jsonl")
        watch = Watch(rig, history)
        load = Load(rig, history, SEED, RATE_PER_S, watch.accepted)
        load.stock_up()
        watch.start()
        load.start()
        stack.callback(history.close)
        stack.callback(watch.stop)
        stack.callback(load.stop)
        yield Stage(rig, history, load, watch)


def test_every_queue_has_a_replica_on_every_node(stage: Stage) -> None:
    queues = {queue.name: queue for queue in stage.rig.queues()}

    names = {route.queue for route in ROUTES.values()}
    assert queues.keys() == {f"{name}{suffix}" for name in names for suffix in ("", ".DQ", ".XQ")}
    nodes = tuple(node.name for node in stage.rig.cluster.nodes)
    assert {queue.replicas for queue in queues.values()} == {nodes}
    # The leaders are not all on one, which would do the work for all.
    assert len({queue.leader for queue in queues.values()}) > 1


def test_the_node_that_leads_the_queue_is_killed(stage: Stage) -> None:
    node = stage.rig.leader()

    with stage.endures("the leader's node is killed"):
        node.kill()
    stage.rig.cluster.start(node)
    stage.holds_every_promise()


def test_a_queue_without_a_leader_refuses_no_longer_than_that(stage: Stage) -> None:
    rig = stage.rig
    # Given a front door on the node that leads the queue
    gone = rig.front_door_node()
    rig.lead(gone)
    other = next(node for node in rig.cluster.nodes if node is not gone)

    # When that is killed, and nobody can be elected before the next publish
    with stage.endures("the node of queue and front door is killed, and the queue has no leader"):
        rig.stop_replica(other)
        gone.kill()
        eventually(lambda: rig.front_door_node() is not gone, what="the front door goes on")
        stage.wait(LEADERLESS_S)
        rig.start_replica(other)
    rig.cluster.start(gone)

    stage.holds_every_promise()


def test_a_node_is_cut_off_from_the_others(stage: Stage) -> None:
    node = stage.rig.front_door_node()

    with stage.endures("the front door's node is cut off"):
        stage.rig.cluster.cut_off(node, Mode.BLACKHOLE)
    stage.rig.cluster.cut_off(node, Mode.PASS)
    eventually(node.server.answers, within_s=RECOVERY_S_MAX, what="the node takes connections")
    stage.holds_every_promise()


def test_a_node_hangs(stage: Stage) -> None:
    node = stage.rig.worker_node()

    stage.rig.lead(node)
    ((hung_at,),) = stage.rig.sql("SELECT now()")

    with stage.endures("the node of queue and worker hangs"):
        node.send(signal.SIGSTOP)
    # And the clock, if it looked by way of that node, looks by way of another
    eventually(
        lambda: stage.rig.sql(SAMPLED, hung_at)[0][0], within_s=RECOVERY_S_MAX,
        what="the clock goes on",
    )  # fmt: skip
    node.send(signal.SIGCONT)
    eventually(node.server.answers, within_s=RECOVERY_S_MAX, what="the node takes connections")
    stage.holds_every_promise()


def test_two_of_three_nodes_are_down(stage: Stage) -> None:
    rig = stage.rig
    gone = [node for node in rig.cluster.nodes if node is not rig.front_door_node()]

    # When the quorum is lost
    stage.wait(UNDER_WAY_S)
    for node in gone:
        node.kill()
    eventually(lambda: not rig.is_ready(), what="the front door is not ready")
    began_s = stage.history.now_s()

    # Then the front door says so, and takes nothing
    with rig.client() as client:
        order = {"customer_id": "c-none", "lines": [{"sku": "HOT", "quantity": 1}]}
        answer = client.post("/v1/orders", json=order)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    ready = httpx.get(f"{rig.base_url}/readyz", timeout=20)
    assert (ready.status_code, ready.json()["checks"]["broker"]) == (503, False)
    # And stays so, however often it connects again
    until_s = stage.history.now_s() + STAYS_S
    while stage.history.now_s() < until_s:
        assert not rig.is_ready()
    stage.history.add(Blackout(began_s, stage.history.now_s()))

    # And goes on by itself
    with stage.endures("there is a quorum again"):
        rig.cluster.start(*gone)
    stage.holds_every_promise()
