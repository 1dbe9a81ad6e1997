"""Three private RabbitMQ nodes as one cluster, and proxies between each two of them.

A node finds another by asking the port mapper (epmd) beside it. Each node has its own, and there
the others are entered with the ports of proxies: so a node can be cut off from the others as by a
network, while clients reach it as before. No root, no firewall, no network namespace.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any, Final

from deploy.local import ports
from deploy.local.processes import wait_until
from deploy.local.rabbitmq import RabbitMQ
from deploy.local.server import write_private
from tests.generations import private_rabbitmq
from tests.torture.proxy import Loop, Mode, Proxy

SIZE: Final = 3
EPMD_S_MAX: Final = 20.0
#: As docs/deploy/rabbitmq.md tells an operator; the last two lines are for a small machine.
CONFIGURATION: Final = """\
cluster_formation.peer_discovery_backend = classic_config
{peers}
cluster_partition_handling = pause_minority
net_ticktime = {net_ticktime_s}
queue_leader_locator = balanced
vm_memory_high_watermark.absolute = 400MB
"""
NET_TICKTIME_S: Final = 15
#: One scheduler a node: three nodes share the machine with all that is tested.
ENVIRONMENT: Final = 'ERL_AFLAGS="$ERL_AFLAGS +S 1:1"\n'


class Node:
    """One node of a cluster. number: from 1."""

    def __init__(self, number: int, server: RabbitMQ) -> None:
        self.number = number
        self.server = server
        self.running = False
        self._names: list[socket.socket] = []

    @property
    def name(self) -> str:
        return str(self.server.settings["node"])

    def start(self, peers: dict[str, int]) -> None:
        """Start it; returns when it takes connections. peers: the others' names and ports."""
        with ThreadPoolExecutor(1) as beside:
            entered = beside.submit(self._enter, peers)
            self.server.start()
            entered.result()
        self.running = True

    def kill(self) -> None:
        """kill -9."""
        self.running = False
        self.server.kill()
        self._forget()

    def stop(self) -> None:
        """SIGTERM."""
        self.running = False
        self.server.stop()
        self._forget()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.server.pid, number)

    def _enter(self, peers: dict[str, int]) -> None:
        """Enter the others at this node's port mapper; it asks for them later in its start."""
        port = int(self.server.settings["epmd_port"])
        wait_until(lambda: not ports.is_free(port), EPMD_S_MAX, every=0.01)
        self._names = [_enter(port, name, at) for name, at in peers.items()]

    def _forget(self) -> None:
        for name in self._names:
            name.close()
        self._names = []


def _enter(epmd_port: int, name: str, port: int) -> socket.socket:
    """Tell a port mapper where a name is; it knows that for as long as the socket is open."""
    alive = name.partition("@")[0].encode()
    request = struct.pack(">BHBBHHH", 120, port, 77, 0, 6, 5, len(alive)) + alive + b"\0\0"
    connection = socket.create_connection(("127.0.0.1", epmd_port), timeout=5)
    connection.sendall(struct.pack(">H", len(request)) + request)
    answer = connection.recv(16)
    if answer[1] != 0:
        raise OSError(f"the port mapper does not take {name}: {answer!r}")
    return connection


class Cluster:
    """Three nodes; a context manager. What one broker offers to a rig, it offers as well."""

    def __init__(self, root: Path) -> None:
        common = {"cookie": secrets.token_hex(16), "password": secrets.token_hex(16)}
        self.nodes = [
            _node(root / f"node-{number}", number, common) for number in range(1, 1 + SIZE)
        ]
        pairs = list(permutations(self.nodes, 2))
        self._ports = dict(zip(pairs, ports.free_ports(len(pairs)), strict=True))
        self.links: dict[tuple[Node, Node], Proxy] = {}

    def __enter__(self) -> "Cluster":
        loop = Loop()
        for (one, other), port in self._ports.items():
            target = int(other.server.settings["distribution_port"])
            self.links[one, other] = Proxy(loop, port, target)
        try:
            self.start(*self.nodes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            with contextlib.suppress(ProcessLookupError, IndexError):
                node.send(signal.SIGCONT)
            node.kill()

    def node(self, name: str) -> Node:
        (found,) = [node for node in self.nodes if node.name == name]
        return found

    def start(self, *nodes: Node) -> None:
        """Start nodes side by side."""
        with ThreadPoolExecutor(len(nodes)) as beside:
            list(beside.map(lambda node: node.start(self._peers(node)), nodes))

    def _peers(self, node: Node) -> dict[str, int]:
        return {other.name: port for (one, other), port in self._ports.items() if one is node}

    def vhost_url(self, vhost: str) -> str:
        """The URLs of all nodes, as RABBITMQ_URL takes them."""
        return ";".join(node.server.vhost_url(vhost) for node in self.nodes)

    def create_vhost(self, name: str) -> str:
        self.nodes[0].server.create_vhost(name)
        return self.vhost_url(name)

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl` on a node that runs."""
        return next(node for node in self.nodes if node.running).server.ctl(*arguments)

    def cut_off(self, node: Node, mode: Mode) -> None:
        """Whatever goes between a node and the others: Mode.PASS mends it."""
        for pair, link in self.links.items():
            if node in pair:
                link.set(mode)


def _node(root: Path, number: int, common: dict[str, Any]) -> Node:
    port, distribution_port, epmd_port = ports.free_ports(3)
    settings = {
        **common, "port": port, "distribution_port": distribution_port, "epmd_port": epmd_port,
        "node": f"holdfast-{number}@localhost",
    }  # fmt: skip
    root.mkdir(parents=True)
    write_private(root / f"{RabbitMQ.name}.json", json.dumps(settings))
    server = private_rabbitmq(root)
    extra = server.folder / "conf.d"
    extra.mkdir(parents=True)
    peers = "\n".join(
        f"cluster_formation.classic_config.nodes.{n} = holdfast-{n}@localhost"
        for n in range(1, 1 + SIZE)
    )
    (extra / "cluster.conf").write_text(
        CONFIGURATION.format(peers=peers, net_ticktime_s=NET_TICKTIME_S)
    )
    (server.folder / "rabbitmq-env.conf").write_text(ENVIRONMENT)
    return Node(number, server)
