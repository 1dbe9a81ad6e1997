"""After a reconnect, a thread that is still busy acknowledges another message: its number's."""

from collections import Counter
from threading import Event

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    runs: Counter[str] = Counter()
    release, never = Event(), Event()
    finished: Counter[str] = Counter()

    def work(kind: str) -> None:
        runs[kind] += 1
        if kind == "slow":
            (release if runs[kind] <= SENT else never).wait()
        elif kind == "unfinished":
            never.wait()
        finished[kind] += 1

    actor = rig.actor(broker, work)
    worker = rig.work(broker, threads=3 * SENT)

    def send(kind: str, running: int) -> None:
        for _ in range(SENT):
            actor.send(kind)
        rig.wait(lambda: runs[kind] == running, f"{running} {kind}")

    # Deliveries 1 to 20 are done, 21 to 40 take their time.
    send("quick", SENT)
    rig.wait_idle(worker)
    send("slow", SENT)
    # The slow ones come again, as 1 to 20 of the next connection; then others, as 21 to 40.
    rig.close_connections()
    rig.wait(lambda: runs["slow"] == 2 * SENT, "the slow ones again")
    send("unfinished", SENT)

    release.set()
    consumer = worker.consumers[rig.queue].consumer
    rig.wait(lambda: len(consumer.known_tags) == SENT, "the slow ones acknowledged")
    rig.hang_up(worker)
    left = Counter(message["args"][0] for message in rig.left())
    return {
        "sent": 3 * SENT,
        "finished": finished.total(),
        "finished, yet back in the queue": left["slow"],
        "unfinished when the worker ends": SENT,
        "unfinished, in the queue": left["unfinished"],
        "lost": SENT - left["unfinished"],
    }
