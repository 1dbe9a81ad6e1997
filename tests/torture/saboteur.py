"""The product's own processes with failpoints around some of its functions; see failpoints.py.

`python -m tests.torture.saboteur --processes 1 …` is `python -m actors …`; `web_app()` is what
gunicorn serves in the rig instead of `web.main:app`.

Every function is named by where callers look it up. One that is gone fails at the start of the rig.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from tests.torture.failpoints import LANE, note_moved, reach

#: Orders of customers that are called so kill the process that decides them.
KILLER: Final = "kills-the-process"


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def sabotage_worker() -> None:
    """Put the worker's failpoints around the functions of its actors."""
    # They read settings.
    from actors import full_queues, inventory, moves, placing, waiting_moves  # noqa: PLC0415
    from actors.broker import broker  # noqa: PLC0415
    from models.queries import inbox  # noqa: PLC0415

    _replace(placing, "bundled_transaction", _around_a_bundle)
    for module in (inventory, moves, waiting_moves):
        _replace(module, "transaction", _around_a_transaction)
    for name in ("claim", "claim_in_slot"):
        _replace(inbox, name, lambda claim: _then(claim, "after-claim"))
    _replace(placing, "_order_row", _killed_by_some)
    _replace(full_queues.Due, "_moved", _moved_in_two_steps)
    _replace(broker, "enqueue", _enqueue_of_a_worker)


def _around_a_transaction(transaction: Any) -> Any:
    """One of a lane: what takes the changes of SKUs, or the moves, in turn."""

    @contextmanager
    def sabotaged() -> Iterator[None]:
        reach(f"{LANE}before-begin")
        with transaction():
            yield
            reach(f"{LANE}before-commit")
        reach(f"{LANE}after-commit")

    return sabotaged


def _around_a_bundle(bundled_transaction: Any) -> Any:
    """The commit is a part of its last message, so the moment before it is before that message."""

    @contextmanager
    def sabotaged() -> Iterator[Any]:
        reach("before-begin")
        with bundled_transaction() as work:
            commit = work.commit

            def committed(*args: Any, **kwargs: Any) -> Any:
                reach("before-commit")
                return commit(*args, **kwargs)

            work.commit = committed
            yield work
        reach("after-commit")

    return sabotaged


def _then(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        reach(name)
        return result

    return called


def _killed_by_some(order_row: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(order_row)
    def called(command: Any, *args: Any) -> Any:
        if command.customer_id.startswith(KILLER):
            os.kill(os.getpid(), signal.SIGKILL)
        return order_row(command, *args)

    return called


def _enqueue_of_a_worker(enqueue: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(enqueue)
    def called(message: Any, *, delay: int | None = None) -> Any:
        if delay is not None:
            reach("publish-retry")
        return enqueue(message, delay=delay)

    return called


def _moved_in_two_steps(moved: Callable[..., Any]) -> Callable[..., Any]:
    """Between the two: the message is in its queue again and still in the delay queue."""

    @wraps(moved)
    def called(self: Any, message: Any) -> Any:
        settle = self._thread.post_process_message

        def settled(message: Any) -> Any:
            reach("delayed-moved")
            note_moved(message.message_id, message.options["eta"])
            return settle(message)

        self._thread.post_process_message = settled
        try:
            return moved(self, message)
        finally:
            self._thread.post_process_message = settle

    return called


def sabotage_web() -> None:
    """Put the front door's failpoints around its publisher."""
    from web.publisher import Publisher  # noqa: PLC0415 - it reads settings

    _replace(Publisher, "_publish", _published)
    _replace(Publisher, "_on_confirm", _confirmed)


def _published(publish: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(publish)
    async def called(self: Any, *args: Any) -> None:
        reach("before-publish")
        await publish(self, *args)
        reach("before-answer")

    return called


def _confirmed(on_confirm: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(on_confirm)
    def called(self: Any, channel: Any, frame: Any) -> None:
        # The one of the connection itself is not for anybody's order.
        if self._ready:
            reach("before-confirm")
        on_confirm(self, channel, frame)

    return called


def web_app() -> Any:
    """The ASGI application, sabotaged."""
    sabotage_web()
    from web.main import app  # noqa: PLC0415 - after the sabotage

    return app


def main() -> int:
    """`python -m actors`, sabotaged: its processes are forks of this one."""
    import actors.main  # noqa: F401, PLC0415 - the actors, declared
    from actors.__main__ import main as actors_main  # noqa: PLC0415

    sabotage_worker()
    return actors_main()


if __name__ == "__main__":
    sys.exit(main())
