"""What docs/deploy tells people to make of their surroundings."""

import re
from pathlib import Path

from tests.conftest import CHECKOUT

DOCS = CHECKOUT / "docs"
RABBITMQ = (DOCS / "deploy" / "rabbitmq.md").read_text()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def connections_at_most(process: str) -> int:
    """To RabbitMQ, for the page's table; without those that stay open for a while only."""
    (at_rest, at_most) = re.findall(rf"^\| {process} \| (\d+)[^|]*\| (\d*)", RABBITMQ, re.M)[0]
    return int(at_most or at_rest)


def test_every_database_is_made_in_utf_8_whatever_the_machine_speaks() -> None:
    commands = [
        command
        for page in DOCS.rglob("*.md")
        for command in re.findall(r"createdb (?:-.*|holdfast.*)", text_of(page))
    ]

    assert len(commands) >= 3
    for command in commands:
        assert "--encoding=UTF8" in command
        assert "--template=template0" in command


def test_the_connections_of_the_smallest_formation_fit_the_plan_that_is_named() -> None:
    kinds = ("a worker process", "a front door process", "a clock")
    page = text_of(DOCS / "deploy" / "heroku.md")
    (said, plan) = map(
        int, re.findall(r"That is \[(\d+) connections\].*\n.*a plan of (\d+) has room", page)[0]
    )

    assert sum(map(connections_at_most, kinds)) == said < plan


def test_that_no_path_prefix_is_possible_is_said_and_led_to() -> None:
    headings = re.findall(r"^## (.*)$", text_of(DOCS / "deploy" / "gateway.md"), re.M)

    assert "A path prefix" in headings
    assert "deploy/gateway.md#a-path-prefix" in text_of(DOCS / "dashboard.md")
