"""Whether the books agree: looked up in one snapshot, kept and explained, never mended.

What is checked stands in models/queries/checks.py. A run looks back to a time (see `window`) or,
with None, at everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any, Final

import msgspec

from models.database import execute, fetch, reading, transaction
from models.queries.checks import CHECKS, Check
from models.queries.inbox import json_text
from models.queries.partitions import PARTITIONED

#: Of a whole run. Its snapshot keeps PostgreSQL from tidying up behind updates of stock meanwhile.
TIMEOUT_MS: Final = 600_000
#: Differences of a check that are explained; all of them are counted.
EXAMPLES_MAX: Final = 20
#: So far a run looks back behind the one before: what was decided by then is looked at again, many
#: times, without a look at everything.
LOOK_BACK: Final = timedelta(days=2)

#: Before the snapshot, so that no partition goes between it and a read: what a catalog says is of
#: now, whatever the snapshot.
HOLD: Final = f"LOCK TABLE {', '.join(PARTITIONED)} IN ACCESS SHARE MODE"

#: What sorts and joins in memory may take, per step of a plan: the default is for small reads.
MEMORY: Final = "64MB"

FIND = """
WITH found AS MATERIALIZED ({statement})
SELECT (SELECT count(*) FROM found),
       coalesce((
           SELECT jsonb_agg(to_jsonb(e)) FROM (SELECT * FROM found AS f ORDER BY f LIMIT %s) AS e
       ), '[]')
"""

KEEP = """
INSERT INTO reconciliations (at, since, took_ms, differences, checks)
VALUES (clock_timestamp(), %s, %s, %s, %s::jsonb)
RETURNING at
"""

# What the version before kept has no checks: it says too little.
LATEST = """
SELECT at, since, took_ms, checks,
       (SELECT max(at) FROM reconciliations WHERE differences = 0 AND checks IS NOT NULL)
FROM reconciliations WHERE checks IS NOT NULL ORDER BY at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """line: what was expected, what is there and where to look, for people; about: `sku:…`,
    `order:…` or `command:…`."""

    line: str
    about: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found; see Check. examples: some of the differences, explained."""

    check: str
    between: str
    holds: str
    differences: int
    took_ms: int
    examples: list[Difference]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a run found. at: its end; since: how far it looked back, None: everything; good_at: when
    last nothing was found, None: not as far as is known."""

    at: datetime
    since: datetime | None
    took_ms: int
    checks: list[Found]
    good_at: datetime | None

    @property
    def differences(self) -> int:
        """Of all checks together."""
        return sum(found.differences for found in self.checks)

    @property
    def wrong(self) -> list[Found]:
        """The checks that found something."""
        return [found for found in self.checks if found.differences]


def look(
    since: datetime | None = None,
    *,
    examples_max: int | None = EXAMPLES_MAX,
    progress: Callable[[Check], None] = lambda _check: None,
) -> list[Found]:
    """What each check finds, in one snapshot; nothing is kept.

    since: look at what was decided from then on, None: at everything; examples_max: differences
    explained per check, None: all; progress: called before each check.
    Raises peewee.DatabaseError, also where the checks together take longer than TIMEOUT_MS.
    """
    deadline = perf_counter() + TIMEOUT_MS / 1000
    with transaction():
        execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        execute(HOLD)
        execute("SELECT set_config('work_mem', %s, true)", (MEMORY,))
        found = []
        for check in CHECKS:
            progress(check)
            left_ms = max(1, round(1000 * (deadline - perf_counter())))
            execute("SELECT set_config('statement_timeout', %s, true)", (str(left_ms),))
            found.append(_find(check, since, examples_max))
    return found


def _find(check: Check, since: datetime | None, examples_max: int | None) -> Found:
    begun = perf_counter()
    times = [since or "-infinity"] * check.statement.count("%s")
    ((differences, rows),) = fetch(
        FIND.format(statement=check.statement), (*times, examples_max)
    )  # fmt: skip
    took_ms = round(1000 * (perf_counter() - begun))
    examples = [Difference(_said(check.line, row), _said(check.about, row)) for row in rows]
    return Found(check.name, check.between, check.holds, differences, took_ms, examples)


def _said(text: str, row: dict[str, Any]) -> str:
    return text.format_map({name: "none" if v is None else v for name, v in row.items()})


def run(
    since: datetime | None = None, progress: Callable[[Check], None] = lambda _check: None
) -> Reconciled:
    """Look, and keep what was found. Arguments as those of `look`."""
    begun = perf_counter()
    found = look(since, progress=progress)
    took_ms = round(1000 * (perf_counter() - begun))
    differences = sum(each.differences for each in found)
    checks = json_text([asdict(each) for each in found])
    # By itself: the snapshot of the checks is read-only.
    with transaction():
        fetch(KEEP, (since, took_ms, differences, checks))
        ((row),) = fetch(LATEST)
    return _reconciled(*row)


def window(look_back: timedelta = LOOK_BACK) -> datetime | None:
    """How far a run has to look back, so that nothing falls between two runs, and so that what the
    last one found is found again until it is gone. None: to the beginning, as the first run does.
    """
    last = latest()
    if last is None or (last.differences and last.since is None):
        return None
    since = last.at - look_back
    return min(since, last.since) if last.differences and last.since else since


@reading()
def latest() -> Reconciled | None:
    """What the last run found, None where there was none yet."""
    rows = fetch(LATEST)
    return _reconciled(*rows[0]) if rows else None


def forget_old() -> int:
    """Remove what was found long ago; returns how many rows."""
    return execute("DELETE FROM reconciliations WHERE at < now() - interval '40 days'")


def _reconciled(
    at: datetime, since: datetime | None, took_ms: int, checks: Sequence[Any],
    good_at: datetime | None,
) -> Reconciled:  # fmt: skip
    return Reconciled(at, since, took_ms, msgspec.convert(checks, list[Found]), good_at)
