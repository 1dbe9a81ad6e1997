"""More than can be decided."""

from typing import Final

from tests.torture.faults.scene import NotFiredError, Scene, fault

FLOODS_MAX: Final = 4


@fault("overload")
def overload(scene: Scene) -> str:
    """Three times and more of what is decided, until clients are told to come again."""
    scene.rig.sql("INSERT INTO actor_limits VALUES ('place_orders', '5/s', 'the rig', now())")
    try:
        # On a busy machine the clients themselves may be too slow at first.
        shed = next((shed for _ in range(FLOODS_MAX) if (shed := scene.load.flood(4.0))), 0)
    finally:
        scene.rig.sql("DELETE FROM actor_limits")
    if not shed:
        raise NotFiredError("all of it was taken")
    return f"{shed} told to come again"
