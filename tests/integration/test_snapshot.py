"""A snapshot is shared for a while, but not with somebody who has just changed what it shows."""

import asyncio

import pytest

from actors.queues import QueueInspector
from config import settings
from models.queries import controls
from tests.integration.workshop import Workshop
from web.dashboard import snapshot
from web.dashboard.snapshot import Snapshots
from web.reading import Reader


async def _paused(snapshots: Snapshots) -> tuple[list[int | None], list[int]]:
    """The paused queues of four snapshots, the last two asked for once there is one; their numbers.

    The fourth is asked for while the third is on its way.
    """
    first = await snapshots.get()
    await asyncio.to_thread(controls.pause, "holdfast.transitions", "a test", "Ada")
    shared = await snapshots.get()
    under_way = asyncio.ensure_future(snapshots.fresh())
    await asyncio.sleep(0)
    last = await snapshots.fresh()
    taken = [first, shared, await under_way, last]
    return [each.counts().paused for each in taken], [each.number for each in taken]


def test_who_changed_something_is_shown_what_was_asked_for_since(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "EVERY_S", 600.0)
    monkeypatch.setattr(snapshot, "PATIENCE_S", 60.0)
    reader = Reader(1)
    snapshots = Snapshots(reader, QueueInspector(settings()))
    try:
        paused, numbers = asyncio.run(_paused(snapshots))
    finally:
        snapshots.close()
        reader.close()

    assert paused == [0, 0, 1, 1]
    assert numbers == [1, 1, 2, 3]
