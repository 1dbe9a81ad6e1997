"""Ids that prove themselves: what was not minted here is not ours."""

import itertools
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.ids import COMMAND, ORDER, IdMint

mint = IdMint(b"a-key-for-tests-that-is-long-enough-1")
digests = st.binary(min_size=16, max_size=16)
kinds = st.sampled_from([ORDER, COMMAND])


def fresh_or_from_key(digest: bytes | None, kind: bytes) -> str:
    return mint.new(kind) if digest is None else mint.from_key(kind, digest)


ids = st.tuples(kinds, st.none() | digests)


@given(ids)
def test_an_id_is_a_uuid_of_version_8_and_ours(made: tuple[bytes, bytes | None]) -> None:
    kind, digest = made
    id_ = fresh_or_from_key(digest, kind)

    assert UUID(id_).version == 8
    assert UUID(id_).variant == RFC_4122
    assert str(UUID(id_)) == id_
    assert mint.is_ours(kind, id_)


@given(ids, st.integers(0, 127))
def test_any_flipped_bit_is_refused(made: tuple[bytes, bytes | None], bit: int) -> None:
    kind, digest = made
    id_ = fresh_or_from_key(digest, kind)

    assert not mint.is_ours(kind, str(UUID(int=UUID(id_).int ^ (1 << bit))))


@given(ids)
def test_an_id_of_one_kind_is_none_of_the_other(made: tuple[bytes, bytes | None]) -> None:
    kind, digest = made
    other = COMMAND if kind == ORDER else ORDER

    assert not mint.is_ours(other, fresh_or_from_key(digest, kind))


@given(kinds, digests)
def test_the_same_key_gives_the_same_id_in_every_process(kind: bytes, digest: bytes) -> None:
    another = IdMint(b"a-key-for-tests-that-is-long-enough-1")

    assert another.from_key(kind, digest) == mint.from_key(kind, digest)


@given(digests, digests)
def test_different_digests_give_different_ids_where_it_matters(one: bytes, other: bytes) -> None:
    same = mint.from_key(ORDER, one) == mint.from_key(ORDER, other)

    # 90 of the 128 bits go into the id: the top 48 and the low 42.
    kept = [(int.from_bytes(d) >> 80, int.from_bytes(d) & ((1 << 42) - 1)) for d in (one, other)]
    assert same == (kept[0] == kept[1])


def test_an_id_of_another_secret_is_not_ours() -> None:
    stranger = IdMint(b"another-key-that-is-long-enough-too-2")

    assert not mint.is_ours(ORDER, stranger.new(ORDER))
    assert stranger.key_digest("c", "k") != mint.key_digest("c", "k")


def test_a_key_belongs_to_its_client() -> None:
    assert mint.key_digest("one", "key") != mint.key_digest("other", "key")
    assert mint.key_digest("one", "key") == mint.key_digest("one", "key")
    assert len(mint.key_digest("one", "key")) == 16


def test_fresh_ids_differ() -> None:
    assert len({mint.new(ORDER) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        str(uuid4()),
        str(UUID(int=0)),
        mint.new(ORDER).upper(),
        mint.new(ORDER).replace("-", ""),
        "{" + mint.new(ORDER) + "}",
        "urn:uuid:" + mint.new(ORDER),
        mint.new(ORDER) + "\n",
        " " + mint.new(ORDER)[1:],
        mint.new(ORDER)[:-1] + "_",
        "+" + mint.new(ORDER)[1:],
        mint.new(ORDER)[:-1] + "\N{ARABIC-INDIC DIGIT ONE}",
        "-" * 36,
        "\0" * 36,
    ],
    # Fresh ids for names would differ between the two processes that share the tests.
    ids=itertools.count(),
)
def test_what_only_looks_like_an_id_is_refused(text: str) -> None:
    assert not mint.is_ours(ORDER, text)


@given(st.text(max_size=40))
def test_any_text_is_refused_and_breaks_nothing(text: str) -> None:
    assert not mint.is_ours(ORDER, text)
