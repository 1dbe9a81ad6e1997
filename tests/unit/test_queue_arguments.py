"""What the queues are made with: nothing in them expires, is given up or dropped by RabbitMQ."""

from dramatiq.common import dq_name, xq_name

from actors.broker import declarations
from actors.commands import LANES, QUEUES

QUEUE = "holdfast.orders"
MADE = declarations(QUEUE, 100)


def test_dead_letters_never_expire() -> None:
    for name in (QUEUE, dq_name(QUEUE), xq_name(QUEUE)):
        assert not {"x-message-ttl", "x-expires"} & MADE[name].keys()
    assert "x-max-length" not in MADE[xq_name(QUEUE)]


def test_rabbitmq_gives_no_message_up() -> None:
    for name in (QUEUE, dq_name(QUEUE)):
        assert MADE[name]["x-queue-type"] == "quorum"
        # From RabbitMQ 4 on it would be 20, where innocent neighbours count as well.
        assert MADE[name]["x-delivery-limit"] >= 1_000_000


def test_a_lane_has_a_single_active_consumer_and_its_delayed_and_dead_messages_have_not() -> None:
    for queue in QUEUES:
        made = declarations(queue, 100)
        alone = {
            name for name, arguments in made.items() if "x-single-active-consumer" in arguments
        }
        assert alone == ({queue} & LANES)


def test_a_full_queue_refuses_what_is_new_and_never_what_is_on_its_way_back() -> None:
    assert (MADE[QUEUE]["x-max-length"], MADE[QUEUE]["x-overflow"]) == (100, "reject-publish")
    assert "x-max-length" not in MADE[dq_name(QUEUE)]
