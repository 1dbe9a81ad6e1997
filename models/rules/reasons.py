"""Why stock is adjusted by hand, and which way each reason moves it."""

from typing import Final

#: In the order of AdjustmentReason in actors/commands.py; a test holds them together.
ADDING: Final = ("received", "returned", "found", "correction")
TAKING: Final = ("damaged", "lost", "correction")


def allowed_reasons(delta: int) -> tuple[str, ...]:
    """The reasons that fit a change of so many units: to put them on hand, or to take them off."""
    return ADDING if delta > 0 else TAKING
