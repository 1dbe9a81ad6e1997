"""The service on a cluster of brokers, with the fault rig's clients, watch and checker."""

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from deploy.local.processes import Program
from tests.cluster.brokers import Cluster, Node
from tests.torture.faults.scene import ORDERS
from tests.torture.rig import CHECKOUT, NAME, TIMEOUTS, Rig

ARGV: Final[dict[str, Sequence[str]]] = {
    "web": ["-m", "web"],
    # One alone: when its node is lost, no other goes on meanwhile.
    "worker": ["-m", "actors", "--processes", "1", "--threads", "8"],
    "clock": ["-m", "holdfast", "clock"],
}
#: Per queue: its name, its leader's node, the nodes of its replicas, and its messages, those that
#: are with a consumer among them (-1: no leader says). Asked of the leaders, by way of any replica:
#: one that was cut off may not know its leader for a while, where nothing comes. What `list_queues`
#: says is old, and of queues that other nodes lead it says nothing (they don't find rabbitmqctl).
SURVEY: Final = f"""\
[begin
    Replicas = rabbit_quorum_queue:get_replicas(Q),
    Ask = fun(Node) -> catch ra:leader_query(
        {{element(1, amqqueue:get_pid(Q)), Node}}, fun rabbit_fifo:query_messages_total/1, 2000
    ) end,
    Asked = [Ask(Node) || Node <- Replicas],
    Answers = [{{Leader, N}} || {{ok, {{_, N}}, {{_, Leader}}}} <- Asked],
    {{Told, Count}} = hd(Answers ++ [{{nobody, -1}}]),
    Nodes = lists:join(",", [atom_to_list(Node) || Node <- Replicas]),
    io:format("~s ~s ~s ~b~n", [element(4, amqqueue:get_name(Q)), Told, Nodes, Count])
 end || Q <- rabbit_amqqueue:list(<<"{NAME}">>)], ok.
"""
#: The node of the connection by which the queue of new orders is consumed.
CONSUMER: Final = f"""\
{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{NAME}">>, queue, <<"{ORDERS}">>)),
[io:format("~s~n", [node(element(1, C))]) || C <- rabbit_amqqueue:consumers(Q)], ok.
"""
LED_S_MAX: Final = 10.0
CONNECTED: Final = re.compile(rb"Connected to RabbitMQ at 127\.0\.0\.1:(\d+)")


class Queue(NamedTuple):
    """A queue as its leader knows it. leader, replicas: names of nodes."""

    name: str
    leader: str
    replicas: tuple[str, ...]
    messages: int


class ClusterRig(Rig):
    """As the fault rig; its processes as they are, on the time-outs that everybody has."""

    programs = tuple(ARGV)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cluster = Cluster(folder / "brokers")

    def _start_servers(self, stack: ExitStack) -> None:
        stack.enter_context(self.postgres)
        self._set_up_database()
        stack.enter_context(self.cluster)
        self.broker_url = self.cluster.create_vhost(NAME)

    def _program(self, name: str) -> Program:
        return Program(
            name=name, argv=[sys.executable, *ARGV[name]], log=self.log(name), owner=self.folder,
            cwd=CHECKOUT, environment=self._environment("web"),
        )  # fmt: skip

    def _environment(self, role: str) -> dict[str, str]:
        ours = {
            "DATABASE_URL": self.database_url,
            "RABBITMQ_URL": self.broker_url,
            "WEB_CONCURRENCY": "1",
        }
        given = super()._environment(role) | ours
        return {k: v for k, v in given.items() if k not in TIMEOUTS and k != "QUEUE_LENGTH_MAX"}

    def backlog(self) -> dict[str, int]:
        return {queue.name: queue.messages for queue in self.queues() if queue.messages}

    def queues(self) -> list[Queue]:
        """All queues, as their leaders know them."""
        listed = self.cluster.ctl("eval", SURVEY).splitlines()
        rows = [line.split() for line in listed if line.startswith("holdfast.")]
        return [Queue(name, leader, tuple(sorted(replicas.split(","))), int(messages))
                for name, leader, replicas, messages in rows]  # fmt: skip

    def leader(self) -> Node:
        """The node that leads the queue of new orders."""
        (name,) = [queue.leader for queue in self.queues() if queue.name == ORDERS]
        return self.cluster.node(name)

    def lead(self, node: Node) -> None:
        """Have a node lead the queue of new orders."""
        now, then = _replica(self.leader()), _replica(node)
        self.cluster.ctl("eval", f"ra:transfer_leadership({now}, {then}).")
        self.until(lambda: self.leader() is node, LED_S_MAX, f"{node.name} leads")

    def stop_replica(self, node: Node) -> None:
        """Of the queue of new orders, on one node; all else goes on."""
        node.server.ctl("eval", f"ra:stop_server(quorum_queues, {_replica(node)}).")

    def start_replica(self, node: Node) -> None:
        """As it was."""
        node.server.ctl("eval", f"ra:restart_server(quorum_queues, {_replica(node)}).")

    def worker_node(self) -> Node:
        """The node from which the worker takes new orders."""
        return self.cluster.node(self.cluster.ctl("eval", CONSUMER).split()[0])

    def front_door_node(self) -> Node:
        """The node that the front door was connected to last."""
        port = int(CONNECTED.findall(self.log("web").read_bytes())[-1])
        (node,) = [node for node in self.cluster.nodes if node.server.port == port]
        return node


def _replica(node: Node) -> str:
    """Of the queue of new orders, as Erlang names it."""
    return f"{{'{NAME}_{ORDERS}', '{node.name}'}}"
