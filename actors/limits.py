"""Limits on how fast, or how many at once, an actor's messages run, over all workers.

`@actor(rate_limit="100/s")` and `@actor(concurrency=2)`. A limited message goes back to its queue,
which this process then holds until there may be room (see actors/controls.py): the backlog stays
where it is bounded, and waits for next to nothing. Actors that share the queue wait as well.
The counting is Dramatiq's own, kept in PostgreSQL.

The limit is taken around the actor's call and not in a hook: Dramatiq logs what a hook raises and
runs the actor all the same.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware, MiddlewareError
from dramatiq.rate_limits import BucketRateLimiter, ConcurrentRateLimiter
from dramatiq.rate_limits.rate_limiter import RateLimiter

from actors.controls import controls
from actors.limiter_backend import PostgresBackend

#: A slot of a worker that was killed comes free again after this long.
SLOT_TTL_MS = 60_000
#: How soon a slot that came free with another worker is seen; one of this worker at once.
SLOT_POLL_MS = 250
#: What was fetched ahead waits with its worker, which RabbitMQ allows for half an hour.
LOOK_AGAIN_MAX_MS = 60_000
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


class Limited(RateLimitExceeded):
    """The message has to wait. delay_ms: when it is worth another look.

    limits_version: of the limits that it met, see actors/controls.py.
    """

    def __init__(self, message: str, delay_ms: int, limits_version: int) -> None:
        super().__init__(message)
        self.delay_ms = delay_ms
        self.limits_version = limits_version


def parse_rate(text: str) -> tuple[int, int]:
    """`"100/s"` as (100, 1000): messages and milliseconds. Units: s, m, h.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(r"([1-9][0-9]*)/([smh])", text)
    if match is None:
        raise ValueError(f"a rate limit is written like 100/s, 500/m or 9/h, not {text!r}")
    return int(match[1]), UNITS_MS[match[2]]


class Limits(Middleware):
    """Gives actors the options `rate_limit` and `concurrency`; None means no limit.

    A rate limit that was set at run time (see actors/controls.py) holds instead of the option's.
    """

    @property
    def actor_options(self) -> set[str]:
        return {"rate_limit", "concurrency"}

    def before_declare_actor(self, _broker: Any, actor: Any) -> None:
        try:
            options = {name: actor.options.get(name) for name in self.actor_options}
            gate = Gate(actor.actor_name, actor.queue_name, **options)
        except ValueError as error:
            # Dramatiq logs any other error and declares the actor without its limit.
            raise MiddlewareError(str(error)) from error
        actor.fn = gate.around(actor.fn)


class Gate:
    """The limits of one actor. Where none is set it costs a look-up."""

    def __init__(
        self, actor: str, queue: str, rate_limit: str | None, concurrency: int | None
    ) -> None:
        self._actor = actor
        self._queue = queue
        self._own_rate = rate_limit
        self._slots = [] if concurrency is None else [_slots(actor, concurrency)]
        self._in_force = (rate_limit, self._limits(rate_limit))

    def around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """The actor's function behind this gate."""

        @wraps(run)
        def limited(*args: Any, **kwargs: Any) -> Any:
            version = controls.limits_version
            limits = self.limits()
            if not limits:
                return run(*args, **kwargs)
            with ExitStack() as held:
                if self._slots:
                    held.callback(controls.lift, self._queue)
                for limiter in limits:
                    held.enter_context(_slot(limiter, version))
                return run(*args, **kwargs)

        return limited

    def limits(self) -> list[RateLimiter]:
        """What is in force now."""
        wanted = controls.rate_limit(self._actor) or self._own_rate
        rate, limits = self._in_force
        if wanted != rate:
            # Threads may do this at once: each makes the same, the last one stays.
            limits = self._limits(wanted)
            self._in_force = (wanted, limits)
        return limits

    def _limits(self, rate_limit: str | None) -> list[RateLimiter]:
        return self._slots if rate_limit is None else [*self._slots, _rate(self._actor, rate_limit)]


def _slots(actor: str, concurrency: int) -> RateLimiter:
    return ConcurrentRateLimiter(
        PostgresBackend(), f"{actor}:slots", limit=concurrency, ttl=SLOT_TTL_MS
    )


def _rate(actor: str, rate_limit: str) -> RateLimiter:
    limit, per_ms = parse_rate(rate_limit)
    return BucketRateLimiter(PostgresBackend(), f"{actor}:rate", limit=limit, bucket=per_ms)


@contextmanager
def _slot(limiter: RateLimiter, limits_version: int) -> Iterator[None]:
    asked_ms = _now_ms()
    with limiter.acquire(raise_on_failure=False) as acquired:
        if not acquired:
            raise Limited(
                f"the limit of {limiter.key} is reached",
                _wait_ms(limiter, asked_ms),
                limits_version,
            )
        yield


def _wait_ms(limiter: RateLimiter, asked_ms: int) -> int:
    """How long until there may be room: the next window of a rate, counted from when it was asked.

    Should that have begun meanwhile, it is to be asked again at once.
    """
    if not isinstance(limiter, BucketRateLimiter):
        return SLOT_POLL_MS
    next_ms: int = asked_ms - asked_ms % limiter.bucket + limiter.bucket
    return min(max(next_ms - _now_ms(), 0), LOOK_AGAIN_MAX_MS)


def _now_ms() -> int:
    return int(time.time() * 1000)
