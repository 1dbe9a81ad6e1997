"""A confirm that does not come: nobody waits for it for ever."""

from threading import Thread
from typing import Any

from deploy.local import ports
from tests.conftest import eventually
from tests.integration.workshop import Workshop, declare, for_actor, new_queue
from tests.torture.proxy import Loop, Mode, Proxy


def test_a_publish_that_is_not_confirmed_is_made_again_on_another_connection(
    workshop: Workshop,
) -> None:
    # Given a broker behind a link that holds everything back
    (port,) = ports.free_ports(1)
    link = Proxy(Loop(), port, workshop.rabbitmq.port)
    url = workshop.rabbitmq.url.replace(str(workshop.rabbitmq.port), str(port))
    broker = workshop.new_broker(rabbitmq_url=url, publish_deadline_s=0.3)
    actor = declare(broker, print, new_queue())
    connections: list[Any] = []

    def publish() -> None:
        broker.enqueue(for_actor(actor, "confirmed"))
        connections.append(broker.connection)
        link.set(Mode.FREEZE)
        broker.enqueue(for_actor(actor, "not confirmed"))
        connections.append(broker.connection)

    # When a message is published, heartbeats are far from missed
    thread = Thread(target=publish)
    thread.start()
    eventually(lambda: connections and connections[0].is_closed, what="it is given up")
    link.heal()
    thread.join(60)

    # Then it goes out on another connection
    first, second = connections
    assert second is not first
    assert second.is_open
