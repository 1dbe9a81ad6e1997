"""Whether more orders are rejected than usual."""

from typing import Final, NamedTuple

#: A minute's rejections are a spike from this share of the orders decided in it, and from this many
#: (a few orders make any share),
SHARE_MIN: Final = 0.3
ORDERS_MIN: Final = 30
#: where the share is so many times that of the hour before.
TIMES_USUAL: Final = 2.0


class Rejections(NamedTuple):
    """Orders decided in some time, and how many of them were rejected."""

    decided: int = 0
    refused: int = 0

    @property
    def share(self) -> float:
        return self.refused / self.decided if self.decided else 0.0


def is_spike(lately: Rejections, usual: Rejections) -> bool:
    """Whether so many rejections are worth a look. usual: of the hour before."""
    return (
        lately.refused >= ORDERS_MIN
        and lately.share >= SHARE_MIN
        and lately.share >= TIMES_USUAL * usual.share
    )
