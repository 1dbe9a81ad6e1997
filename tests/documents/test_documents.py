"""Each sentence that promises something is held by a test: see the tables beside this file."""

from pathlib import Path

import pytest

from deploy.documents import openapi
from tests.conftest import CHECKOUT
from tests.documents.sentences import (
    Entry,
    is_test,
    of_markdown,
    of_openapi,
    read_table,
    sentences,
)

HERE = Path(__file__).parent
DOCUMENTS = {
    "api.txt": lambda: of_markdown((CHECKOUT / "docs" / "api.md").read_text("utf-8")),
    "openapi.txt": lambda: of_openapi(openapi()),
}


def table(name: str) -> list[Entry]:
    return read_table(HERE / name)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_sentence_is_in_the_table_and_no_other(name: str) -> None:
    said = DOCUMENTS[name]()
    entries = [entry.sentence for entry in table(name)]

    missing = [sentence for sentence in said if sentence not in entries]
    stale = [sentence for sentence in entries if sentence not in said]
    assert missing == [], f"tests/documents/{name} does not say which tests hold these"
    assert stale == [], f"tests/documents/{name} has sentences that are no longer said"
    assert len(entries) == len(set(entries)), "a sentence is there twice"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_sentence_is_held_by_tests_that_there_are(name: str) -> None:
    for entry in table(name):
        assert bool(entry.held_by) != bool(entry.why_not), entry.sentence
        for test in entry.held_by:
            assert is_test(test), f"{entry.sentence}: there is no tests/{test}"


def test_a_page_is_taken_apart_into_sentences() -> None:
    page = (
        "# A page\n\nOne sentence\nof two lines: `A-Z a-z 0-9 . _ -`. `Two` is short.\n\n"
        "- **Three.** It goes on.\n- four\n\n    {code,\n     more}\n\n"
        "| a | b |\n|---|---|\n| c | d |"
    )

    assert of_markdown(page) == [
        "One sentence of two lines: `A-Z a-z 0-9 . _ -`.", "`Two` is short.",
        "**Three.** It goes on.", "four", "{code, more}", "| c | d |",
    ]  # fmt: skip
    assert sentences("What is so? It is. e.g. this") == ["What is so?", "It is. e.g. this"]


def test_what_is_no_test_is_none() -> None:
    assert is_test("documents/test_documents.py::test_what_is_no_test_is_none")
    assert not is_test("documents/test_documents.py::table")
    assert not is_test("documents/no_such_file.py::test_anything")
