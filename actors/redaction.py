"""Secrets taken out of text before it is logged: whatever an error quotes, it shows no password."""

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from config import Settings

HIDDEN = "[redacted]"
#: A shorter one is no secret, and blotting it out would tear other words.
SECRET_LENGTH_MIN = 12
#: People choose shorter ones for a server.
PASSWORD_LENGTH_MIN = 8

#: A value in quotes, which may be quoted themselves, or without any. Where a long line was cut, no
#: quote ends it.
_VALUE = (
    r"""(?:(?P<escape>\\*)(?P<quote>['"])(?:(?!(?<!\\)(?P=escape)(?P=quote)).)*"""
    r"""(?:(?P=escape)(?P=quote))?|[^\s&]+)"""
)
_PATTERNS = (
    # API keys.
    (re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9_-]{4,}"), f"hf_{HIDDEN}"),
    # The password in a URL, up to the last @ before its path.
    (re.compile(r"(?P<user>://[^\s:/@]*):[^\s/]+@"), rf"\g<user>:{HIDDEN}@"),
    # As libpq, its environment, a query, a setting, Python and JSON write it.
    (
        re.compile(rf"""(?i)(?P<name>passw(?:or)?d[\\'"]*\s*[=:]\s*){_VALUE}"""),
        rf"\g<name>{HIDDEN}",
    ),
    # As headers have them: a token, a name with its password, a session of the dashboard.
    (re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]+"), f"Bearer {HIDDEN}"),
    (
        re.compile(r"(?i)(?P<name>\bauthorization.{1,8}?\bbasic\s+)[A-Za-z0-9._~+/=-]+"),
        rf"\g<name>{HIDDEN}",
    ),
    (
        re.compile(r"(?P<name>(?:__Host-holdfast|\bholdfast-\d+)=)[^\s;,'\"\\]+"),
        rf"\g<name>{HIDDEN}",
    ),
)


class Redaction:
    """Takes secrets out of text: by their form, and those of the settings by their value."""

    def __init__(self, given: Settings | None = None) -> None:
        known = sorted(_known(given) if given else (), key=len, reverse=True)
        self._known = re.compile("|".join(map(_however_quoted, known))) if known else None

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    def value(self, value: Any) -> Any:
        """A value of a log line: its text, its members, or what it says of itself."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {str(name): self.value(member) for name, member in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(member) for member in value]
        return self.text(str(value))


def _known(given: Settings) -> set[str]:
    urls = (
        given.database_url, *given.replica_urls(), *given.rabbitmq_url.split(";"),
        given.rate_limit_storage_url, given.rabbitmq_management_url or "",
    )  # fmt: skip
    passwords = [_password(url) for url in urls]
    pairs = (given.message_keys or "").split(",")
    keys = [pair.strip().partition(":")[2] for pair in pairs]
    secrets = {
        (secret, SECRET_LENGTH_MIN) for secret in (given.secret_key, given.api_key or "", *keys)
    }
    secrets |= {(one, PASSWORD_LENGTH_MIN) for one in (*passwords, *map(unquote, passwords))}
    return {secret for secret, length_min in secrets if len(secret) >= length_min}


def _however_quoted(secret: str) -> str:
    """A pattern of a secret, quoted by Python or in JSON as often as may be."""
    quoted = {"\\": r"\\+", '"': r'\\*"', "'": r"\\*'"}
    return "".join(quoted.get(character) or re.escape(character) for character in secret)


def _password(url: str) -> str:
    """Of a URL; '' for one that is the user's name as well, which is no secret."""
    try:
        split = urlsplit(url)
    except ValueError:
        return ""
    return "" if split.password == split.username else split.password or ""
