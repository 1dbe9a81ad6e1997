"""What is between the parts breaks, in one way or another."""

from collections.abc import Sequence
from typing import Final

from tests.torture.faults.scene import FAULTS, Fault, Scene, fault
from tests.torture.history import Blackout
from tests.torture.proxy import BROKEN_BY, Mode
from tests.torture.rig import (
    LINKS,
)

BROKEN_S: Final = 2.0


def _network(mode: Mode, links: Sequence[str]) -> Fault:
    def run(scene: Scene) -> str:
        name = scene.random.choice(links)
        _break_link(scene, name, mode, BROKEN_S)
        return name

    return run


def _break_link(scene: Scene, name: str, mode: Mode, hold_s: float) -> None:
    link = scene.rig.links[name]
    link.set(mode)
    began_s = scene.history.now_s()
    try:
        scene.wait(hold_s)
        scene.fires(lambda: link.affected > 0, f"{mode.value} of {name}")
        if name == "web-broker" and mode in BROKEN_BY:
            # A connection that is cut would tell the front door; one that hangs does not.
            scene.history.add(Blackout(began_s, scene.history.now_s()))
    finally:
        link.heal()


for _mode in (Mode.CUT, Mode.BLACKHOLE, Mode.LOSE_UP, Mode.LOSE_DOWN, Mode.DRIP):
    FAULTS[f"network-{_mode.value}"] = _network(_mode, LINKS)
    for _link in LINKS:
        FAULTS[f"network-{_mode.value}:{_link}"] = _network(_mode, [_link])
# In every run: what shows whether the front door waits for its confirms.
FAULTS["network-no-confirms"] = _network(Mode.LOSE_DOWN, ["web-broker"])


@fault("network-drop-commit-reply")
def network_drop_commit_reply(scene: Scene) -> str:
    """The transaction is committed and the worker never hears of it."""
    _break_link(scene, "worker-database", Mode.DROP_COMMIT_REPLY, 1.5)
    return ""
