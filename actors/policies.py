"""Policies that would take messages out of our queues, by RabbitMQ's management API.

AMQP shows a queue's own arguments and not what is in effect: policies and operator policies change
that. RABBITMQ_MANAGEMENT_URL says where to ask; without it nobody does, and what a policy drops is
seen once it is dropped (actors/dropped.py).
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import msgspec
from dramatiq.common import dq_name, xq_name

from actors.broker import DELIVERIES_MAX, OVERFLOW
from actors.nodes import connection_parameters
from config import Settings

TIMEOUT_S: Final = 5.0
#: Whatever the value, messages go or are refused by it.
NEVER: Final = ("message-ttl", "expires", "max-length-bytes")
#: Here a queue's own argument wins; `.XQ` has none of these.
DEAD_LETTERING: Final = ("dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy")


class PoliciesUnknownError(ConnectionError):
    """The management API can't be asked."""


class _Queue(msgspec.Struct):
    name: str
    # RabbitMQ writes one that is empty as a list.
    effective_policy_definition: dict[str, Any] | list[Any] | None = None


_decoder = msgspec.json.Decoder(list[_Queue])


class _NoRedirects(HTTPRedirectHandler):
    """With one, urllib would take the password along, wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


# Nor is a proxy of the environment's to see it.
_opener = build_opener(ProxyHandler({}), _NoRedirects)


def conflicts(settings: Settings, queues: Sequence[str]) -> list[str]:
    """What policies do to these queues that they must not, in words; nothing without the URL.

    Raises PoliciesUnknownError.
    """
    if settings.rabbitmq_management_url is None:
        return []
    definitions = _definitions(settings)
    return [
        f"a policy sets {key} of {name}"
        for queue in queues
        for name in (queue, dq_name(queue), xq_name(queue))
        for key in _harmful(definitions.get(name, {}), name, queue, settings.queue_length_max)
    ]


def _harmful(
    definition: Mapping[str, Any], name: str, queue: str, length_max: int
) -> Iterator[str]:
    yield from (key for key in NEVER if key in definition)
    if "max-length" in definition and (name != queue or definition["max-length"] < length_max):
        yield "max-length"
    # With less than 0 RabbitMQ 4 takes ours.
    if 0 <= definition.get("delivery-limit", -1) < DELIVERIES_MAX:
        yield "delivery-limit"
    # Here the policy wins. The others have no length, so that none overflows.
    if name == queue and definition.get("overflow", OVERFLOW) != OVERFLOW:
        yield "overflow"
    if name == xq_name(queue):
        yield from (key for key in DEAD_LETTERING if key in definition)


def _definitions(settings: Settings) -> dict[str, Mapping[str, Any]]:
    """What policies set, by queue: what is in effect of all of them together."""
    try:
        request = _request(settings)
        with _opener.open(request, timeout=TIMEOUT_S) as answer:
            found = _decoder.decode(answer.read())
    except (OSError, ValueError) as error:
        raise PoliciesUnknownError(f"RABBITMQ_MANAGEMENT_URL: request failed: {error}") from None
    except HTTPException as error:
        # Such as RabbitMQ's own port.
        raise PoliciesUnknownError(
            f"RABBITMQ_MANAGEMENT_URL: the server there does not speak HTTP: {error!r}"
        ) from None
    return {
        queue.name: queue.effective_policy_definition
        for queue in found
        if isinstance(queue.effective_policy_definition, dict)
    }


def _request(settings: Settings) -> Request:
    url = urlsplit(settings.rabbitmq_management_url or "")
    vhost = connection_parameters(settings)[0].virtual_host
    address = url._replace(
        netloc=url.netloc.rpartition("@")[2],
        path=f"{url.path.rstrip('/')}/api/queues/{quote(vhost, safe='')}",
    ).geturl()
    pair = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    basic = base64.b64encode(pair.encode()).decode()
    return Request(address, headers={"Authorization": f"Basic {basic}"})  # noqa: S310 - the operator's
