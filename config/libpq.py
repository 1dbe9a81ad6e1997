"""What may stand behind the `?` of a PostgreSQL URL: libpq finds out about most of it only when it
connects, and does not say which setting it is in."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import psycopg2
from psycopg2.extensions import parse_dsn

_SSL_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "gssencmode": ("disable", "prefer", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": (
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby"
    ),
    "ssl_min_protocol_version": _SSL_VERSIONS,
    "ssl_max_protocol_version": _SSL_VERSIONS,
}  # fmt: skip
INTEGERS: Final = (
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
)  # fmt: skip
INTEGER_MAX: Final = 2**31 - 1


def check_names(url: str) -> None:
    """Raises ValueError that names a parameter of a URL that libpq does not know."""
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        # Anything else may be a part of a password that was not percent-encoded.
        if name.isascii() and name.replace("_", "").isalnum() and not _is_known(name):
            raise ValueError(f"libpq has no parameter {name[:40]}")


def _is_known(name: str) -> bool:
    try:
        parse_dsn(f"postgresql:///?{name}=true")
    except psycopg2.ProgrammingError:
        return False
    return True


def check_values(address: Mapping[str, str]) -> None:
    """Raises ValueError that names a parameter whose value libpq would refuse."""
    for name, choices in CHOICES.items():
        if address.get(name, choices[0]) not in choices:
            raise ValueError(f"its {name} must be one of {', '.join(choices)}")
    for name in INTEGERS:
        text = address.get(name, "0")
        if not (text.isascii() and text.isdigit() and int(text) <= INTEGER_MAX):
            raise ValueError(f"its {name} must be a whole number, 0 or more")
