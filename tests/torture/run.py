"""One run: start everything, let it work, break it by the schedule, heal, drain, check."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

from tests.torture.checker import RECOVERY_S_MAX, Verdict, check
from tests.torture.faults import FAULTS, NotFiredError, Scene
from tests.torture.faults.messages import CURSE, publish_copies
from tests.torture.faults.scene import ON_DISK_S, channel_of
from tests.torture.history import Event, History
from tests.torture.load import Load
from tests.torture.progress import Progress
from tests.torture.rig import Rig
from tests.torture.schedule import Planned, schedule
from tests.torture.watch import Watch

RATE_PER_S: Final = 170.0
#: How often faults that come in a row are repeated, in a long run and in a short one.
SERIES: Final = 20
SERIES_SHORT: Final = 1
LONG_MINUTES: Final = 10.0
LOOK_EVERY_S: Final = 0.1


def run(
    folder: Path,
    seed: int,
    minutes: float,
    names: list[str],
    checkout: Path,
    patience_s: float = RECOVERY_S_MAX,
    make_rig: Callable[[Path, Path], Rig] = Rig,
    rate_per_s: float = RATE_PER_S,
) -> Verdict:
    """Torture a system below a folder; every fault comes at least once, however long that takes.

    patience_s: how long all may take to be decided after a fault, and at the end. rate_per_s: of
    what clients ask for. Raises RigError when the rig itself breaks.
    """
    with make_rig(folder, checkout) as rig:
        rig.sql(CURSE)
        history = History(folder / "history.jsonl")
        watch = Watch(rig, history)
        load = Load(rig, history, seed, rate_per_s, watch.accepted)
        series = SERIES if minutes >= LONG_MINUTES else SERIES_SHORT
        scene = Scene(rig, load, watch, history, Random(seed), series, patience_s)
        progress = Progress(seed, minutes * 60, load, watch, history)
        load.stock_up()
        watch.start()
        load.start()
        try:
            _break(scene, progress, seed, minutes * 60, names)
        finally:
            load.stop()
        progress.say("healed; draining")
        _drain(scene)
        watch.stop()
        history.close()
        progress.say("checking")
        verdict = check(rig, history.path, patience_s)
        verdict.breaks("P3 and P4 while it ran", (f"{row}" for row in watch.out_of_balance))
        doomed = scene.not_failed(scene.doomed)
        verdict.breaks("Can only fail, and has not", (f"order {id_}" for id_ in doomed))
        verdict.breaks("A fault saw", scene.broken)
        verdict.breaks("P9 comes back unseen", scene.unseen)
        verdict.breaks("An error of ours", load.server_errors)
        verdict.breaks("Deadlocks", _deadlocks(rig))
        return verdict


def _break(scene: Scene, progress: Progress, seed: int, for_s: float, names: list[str]) -> None:
    ends = monotonic() + for_s
    scene.wait(ON_DISK_S)
    for planned in schedule(seed, names):
        if planned.number > len(names) and monotonic() > ends:
            return
        scene.wait(planned.pause_s)
        event = _inflict(scene, planned, progress)
        scene.history.add(event)
        progress.event(planned, event)
        if event.recovered_s is None:
            # What comes after it would only hide what is wrong.
            return


def _inflict(scene: Scene, planned: Planned, progress: Progress) -> Event:
    scene.random = Random(planned.seed)
    progress.say(planned.fault)
    began_s = scene.history.now_s()
    try:
        detail, fired = FAULTS[planned.fault](scene), True
    except NotFiredError as error:
        detail, fired = str(error), False
    healed_s = scene.history.now_s()
    return Event(planned.fault, began_s, healed_s, fired, _recovery_s(scene, healed_s), detail)


def _recovery_s(scene: Scene, healed_s: float) -> float | None:
    """How long until a new order is decided, and with it all that was taken before the healing.

    Orders that can only fail take all their retries: no recovery waits for them. None: not within
    the time there is.
    """
    probed = False
    while scene.history.now_s() - healed_s <= scene.patience_s:
        probed = probed or scene.load.probe()
        if probed and scene.watch.undecided(healed_s, scene.doomed) == 0:
            return scene.history.now_s() - healed_s
        scene.wait(LOOK_EVERY_S)
    return None


def _drain(scene: Scene) -> None:
    """All is well again: everything that was taken is decided, and the queues are empty."""
    with channel_of(scene.rig) as channel:
        channel.confirm_delivery()
        publish_copies(channel, scene.postponed)
    ends = monotonic() + scene.patience_s
    while monotonic() < ends:
        if scene.watch.undecided(scene.history.now_s()) == 0 and not scene.rig.backlog():
            return
        scene.wait(LOOK_EVERY_S)


def _deadlocks(rig: Rig) -> list[str]:
    """Locks are taken in one order everywhere. PostgreSQL's own count does not survive a crash."""
    lines = rig.postgres.log.read_text(errors="replace").splitlines()
    return [line for line in lines if "deadlock detected" in line]
