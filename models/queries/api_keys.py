"""API keys: random tokens of which only the hash is kept."""

from collections.abc import Sequence
from hashlib import sha256
from secrets import token_hex, token_urlsafe
from typing import NamedTuple

from peewee import fn

from config import LIMIT
from models.database import reading
from models.tables import ApiKey

SCOPES = (
    "orders:read",
    "orders:write",
    "inventory:read",
    "inventory:write",
    "dashboard:read",
    "dashboard:operate",
)
#: In characters, as the table has it.
NAME_MAX = 100
TOKEN_PREFIX = "hf_"  # noqa: S105 - tells a leaked key apart, and is no secret  # nosec B105


class Key(NamedTuple):
    """A key that may be used. rate_limit: such as "100/second", None for no limit; name: whose."""

    id: str
    scopes: frozenset[str]
    rate_limit: str | None
    name: str = ""


def _check(name: str, scopes: Sequence[str], rate_limit: str | None) -> None:
    """Raises ValueError that says which of them no key may have."""
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise ValueError(f"a name has 1 to {NAME_MAX} characters, none of them a control character")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise ValueError(f"no such scope: {', '.join(unknown)}. There are: {', '.join(SCOPES)}")
    if rate_limit is not None and LIMIT.fullmatch(rate_limit) is None:
        raise ValueError(
            f'{rate_limit!r} is no rate limit; write it like "100/second" or "5/2 minutes", 1 or '
            "more in a window of at most 999 days"
        )


def hash_token(token: str) -> bytes:
    """The SHA-256 of a token. It is 256 random bits, so no slow hash is needed."""
    return sha256(token.encode()).digest()


def new_token() -> str:
    """A fresh token, to be shown once."""
    return TOKEN_PREFIX + token_urlsafe(32)


def create(name: str, scopes: Sequence[str], rate_limit: str | None, token: str) -> str:
    """Register a token; returns the id of the key. One that is there already is brought back.

    Raises ValueError for a name, scopes or a rate limit that no key may have.
    """
    _check(name, scopes, rate_limit)
    with reading():
        row = (
            ApiKey.insert(
                id=f"key_{token_hex(6)}",
                name=name,
                hash=hash_token(token),
                scopes=list(scopes),
                rate_limit=rate_limit,
                created_at=fn.now(),
            )
            .on_conflict(
                conflict_target=[ApiKey.hash],
                update={
                    ApiKey.scopes: list(scopes),
                    ApiKey.rate_limit: rate_limit,
                    ApiKey.revoked_at: None,
                },
            )
            .returning(ApiKey.id)
            .execute()
        )
        return str(next(iter(row)).id)


def revoke(key_id: str) -> bool:
    """Revoke a key; whether it was there and still good."""
    with reading():
        revoked: int = (
            ApiKey.update(revoked_at=fn.now())
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_null())
            .execute()
        )
        return revoked == 1


def find(token_hash: bytes) -> Key | None:
    """The key of a token, None when there is none or it was revoked."""
    with reading():
        return _key(ApiKey.get_or_none(ApiKey.hash == token_hash, ApiKey.revoked_at.is_null()))


def by_id(key_id: str) -> Key | None:
    """A key by its id, None when there is none or it was revoked."""
    with reading():
        return _key(ApiKey.get_or_none(ApiKey.id == key_id, ApiKey.revoked_at.is_null()))


def _key(row: ApiKey | None) -> Key | None:
    return None if row is None else Key(row.id, frozenset(row.scopes), row.rate_limit, row.name)


def every() -> list[ApiKey]:
    """All keys, newest first, the revoked ones too."""
    with reading():
        return list(ApiKey.select().order_by(ApiKey.created_at.desc()))
