"""Without `confirm_delivery`, the default, what reaches no queue is gone without an error."""

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    by_default = _lost(rig, confirm_delivery=False)
    return {
        "sent, after the queue was deleted": SENT,
        "errors": 0,
        "lost": by_default,
        "lost with confirm_delivery=True": _lost(rig, confirm_delivery=True),
    }


def _lost(rig: Rig, confirm_delivery: bool) -> int:
    broker = rig.broker(confirm_delivery=confirm_delivery)
    actor = rig.actor(broker, lambda: None)
    # The first message declares the queue, which the broker then takes for granted.
    actor.send()
    with rig.channel() as channel:
        channel.queue_delete(rig.queue)
    for _ in range(SENT):
        actor.send()
    with rig.channel() as channel:
        channel.queue_declare(
            rig.queue, durable=True, arguments=broker._build_queue_arguments(rig.queue)
        )
    return SENT - len(rig.left())
