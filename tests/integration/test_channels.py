"""What a channel of a lane held goes back in order, before the next consumer gets any."""

from actors.channels import close_in_order
from actors.commands import LANES
from tests.conftest import eventually
from tests.integration.workshop import Workshop

BODIES = [b"1", b"2", b"3", b"4"]


def test_a_channel_is_closed_in_order(workshop: Workshop) -> None:
    (lane, *_) = LANES
    workshop.publish(lane, *BODIES)
    with workshop.connect() as first, workshop.connect() as second:
        # Given an active consumer that holds two messages, and another one that stands by
        active = first.channel()
        active.basic_qos(prefetch_count=2)
        held = active.consume(lane, inactivity_timeout=5)
        assert [next(held)[2] for _ in range(2)] == BODIES[:2]
        waiting = second.channel().consume(lane, inactivity_timeout=0.5)
        assert next(waiting) == (None, None, None)
        # When its channel is closed
        close_in_order(active)
        # Then the other one gets all, the first ones first
        assert [eventually(lambda: next(waiting)[2]) for _ in BODIES] == BODIES
