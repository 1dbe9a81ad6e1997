"""The service on a primary with a synchronous standby, with the fault rig's clients and checker."""

import socket
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Final

from deploy.local import ports
from deploy.local.servers import Postgres
from tests.cluster.standby import Standby
from tests.torture.faults.scene import Scene, fault
from tests.torture.proxy import Loop, Mode, Proxy
from tests.torture.rig import CHECKOUT, NAME, Rig

KILLED: Final = "postgres:primary-killed"
CUT_OFF: Final = "postgres:primary-cut-off"


class FailoverRig(Rig):
    """As the fault rig, on two database servers and an address that names both."""

    def __init__(self, folder: Path, checkout: Path = CHECKOUT) -> None:
        super().__init__(folder, checkout)
        self.standby = Standby(folder / "standby", self.postgres)
        self.database_url = either(self.postgres, NAME, self.postgres.port, self.standby.port)

    def _start_servers(self, stack: ExitStack) -> None:
        stack.enter_context(self.postgres)
        stack.enter_context(self.standby)
        make_synchronous(self.postgres)
        self._set_up_database()
        stack.enter_context(self.rabbitmq)
        self.rabbitmq.create_vhost(NAME)

    def _environment(self, role: str) -> dict[str, str]:
        ours = {"DATABASE_URL": self.database_url, "RABBITMQ_URL": self.broker_url}
        return {**super()._environment(role), **ours}


class CutOffRig(FailoverRig):
    """One where the service reaches the first primary through `way`; the standby goes past it."""

    way: Proxy

    def _start_servers(self, stack: ExitStack) -> None:
        self.way = Proxy(Loop(), ports.free_ports(1)[0], self.postgres.port)
        super()._start_servers(stack)

    def _environment(self, role: str) -> dict[str, str]:
        url = either(self.postgres, NAME, self.way.port, self.standby.port)
        return {**super()._environment(role), "DATABASE_URL": url}

    def fence(self) -> None:
        """The primary does nothing any more; who speaks to its host gets no answer."""
        self.postgres.kill()
        silent = socket.create_server(("127.0.0.1", self.postgres.port), backlog=1024)
        self._stack.enter_context(silent)


def either(server: Postgres, database: str, *server_ports: int) -> str:
    """The address of a database on whichever of some servers writes."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in server_ports)
    url = server.database_url(database).replace(f"127.0.0.1:{server.port}", hosts)
    return f"{url}?target_session_attrs=read-write"


def make_synchronous(primary: Postgres, of: str = "*") -> None:
    """From now on nothing is committed before one of these standbys has it; of none: at once."""
    primary.query(f"ALTER SYSTEM SET synchronous_standby_names = '{of}'")
    primary.query("SELECT pg_reload_conf()")


@fault(KILLED)
def primary_killed(scene: Scene) -> str:
    """The primary dies in the middle of everything, and the standby takes its place."""
    rig = _rig(scene)
    _under_load(scene)
    began = monotonic()
    rig.postgres.kill()
    rig.standby.promote()
    return f"the standby writes after {monotonic() - began:.1f} s"


@fault(CUT_OFF)
def primary_cut_off(scene: Scene) -> str:
    """Nobody hears of the primary any more, as when its host is gone: nor does anybody after."""
    rig = _rig(scene)
    assert isinstance(rig, CutOffRig)
    way = rig.way
    _under_load(scene)
    way.set(Mode.BLACKHOLE)
    scene.fires(lambda: way.affected > 0, "something is lost on the way to the primary")
    scene.wait(2.0)
    began = monotonic()
    # Whoever promotes has to be sure first that it does nothing any more.
    rig.fence()
    rig.standby.promote()
    return f"the standby writes after {monotonic() - began:.1f} s"


def _rig(scene: Scene) -> FailoverRig:
    assert isinstance(scene.rig, FailoverRig)
    return scene.rig


def _under_load(scene: Scene) -> None:
    scene.fires(lambda: scene.load.accepted_orders > 300, "orders come in")
    scene.fires(lambda: scene.watch.decided > 100, "orders are decided")
    state = "SELECT sync_state FROM pg_stat_replication"
    assert scene.rig.sql(state) == [("sync",)], "there is no synchronous standby"
