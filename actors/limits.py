"""Limits on how fast, or how many at once, an actor's messages run, over all workers.

`@actor(rate_limit="100/s")` and `@actor(concurrency=2)`. A limited message waits in the delay
queue without losing a retry. The counting is Dramatiq's own, kept in PostgreSQL.

The limit is taken around the actor's call and not in a hook: Dramatiq logs what a hook raises and
runs the actor all the same.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware, MiddlewareError
from dramatiq.rate_limits import BucketRateLimiter, ConcurrentRateLimiter
from dramatiq.rate_limits.rate_limiter import RateLimiter

from actors.limiter_backend import PostgresBackend

#: A slot of a worker that was killed comes free again after this long.
SLOT_TTL_MS = 60_000
#: A message that waits is held by a worker, which RabbitMQ allows for half an hour.
LOOK_AGAIN_MAX_MS = 60_000
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


class Limited(RateLimitExceeded):
    """The message has to wait. delay_ms: when it is worth another look."""

    def __init__(self, message: str, delay_ms: int) -> None:
        super().__init__(message)
        self.delay_ms = delay_ms


def parse_rate(text: str) -> tuple[int, int]:
    """`"100/s"` as (100, 1000): messages and milliseconds. Units: s, m, h.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(r"([1-9][0-9]*)/([smh])", text)
    if match is None:
        raise ValueError(f"a rate limit is written like 100/s, 500/m or 9/h, not {text!r}")
    return int(match[1]), UNITS_MS[match[2]]


class Limits(Middleware):
    """Gives actors the options `rate_limit` and `concurrency`; None means no limit."""

    @property
    def actor_options(self) -> set[str]:
        return {"rate_limit", "concurrency"}

    def before_declare_actor(self, _broker: Any, actor: Any) -> None:
        try:
            limiters = list(_limiters(actor.actor_name, actor.options))
        except ValueError as error:
            # Dramatiq logs any other error and declares the actor without its limit.
            raise MiddlewareError(str(error)) from error
        if limiters:
            actor.fn = _limited(actor.fn, limiters)


def _limiters(actor: str, options: dict[str, Any]) -> Iterator[tuple[RateLimiter, int]]:
    backend = PostgresBackend()
    if options.get("concurrency"):
        yield (
            ConcurrentRateLimiter(
                backend, f"{actor}:slots", limit=options["concurrency"], ttl=SLOT_TTL_MS
            ),
            250,
        )
    if options.get("rate_limit"):
        limit, per_ms = parse_rate(options["rate_limit"])
        limiter = BucketRateLimiter(backend, f"{actor}:rate", limit=limit, bucket=per_ms)
        yield limiter, min(per_ms, LOOK_AGAIN_MAX_MS)


def _limited(
    run: Callable[..., Any], limiters: list[tuple[RateLimiter, int]]
) -> Callable[..., Any]:
    @wraps(run)
    def limited(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as held:
            for limiter, delay_ms in limiters:
                held.enter_context(_slot(limiter, delay_ms))
            return run(*args, **kwargs)

    return limited


@contextmanager
def _slot(limiter: RateLimiter, delay_ms: int) -> Iterator[None]:
    with limiter.acquire(raise_on_failure=False) as acquired:
        if not acquired:
            raise Limited(f"the limit of {limiter.key} is reached", delay_ms)
        yield
