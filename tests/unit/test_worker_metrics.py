"""The workers' metrics: what Prometheus reads is what was counted, over all processes."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import peewee
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from actors.heartbeat import Left, Reporter
from actors.metrics import Folder, Process, WorkerMetrics, began, remove_leftovers, sizes, times
from actors.stats import Recorder
from config import settings
from models.rules.figures import blank
from models.rules.histograms import bucket, bucket_of_time
from tests.scraping import Samples, samples
from tests.unit.test_health import WELL


def process(pid: int = 0, handled: int = 1) -> Process:
    figures = blank("place_orders")
    figures.handled = handled
    figures.ran[bucket_of_time(0.03)] = handled
    figures.batch[bucket(7)] = handled
    figures.decided, figures.refused = 10 * handled, handled
    pid = pid or os.getpid()
    return Process(
        pid=pid, began=began(pid) or 0, database="here", figures=[figures],
        in_progress={"place_orders": 1}, delayed={}, threads=8, threads_busy=1, memory_bytes=1_000,
        vitals=WELL,
    )  # fmt: skip


def scraped(processes: Iterable[Process]) -> Samples:
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(lambda: list(processes)))
    return samples(generate_latest(registry).decode())


ORDERS = frozenset({("queue_name", "holdfast.orders"), ("actor_name", "place_orders")})


def test_the_figures_of_all_processes_add_up() -> None:
    found = scraped([process(handled=2), process(handled=3)])

    assert found["dramatiq_messages_total", ORDERS] == 5
    assert found["dramatiq_message_duration_milliseconds_count", ORDERS] == 5
    assert found["dramatiq_message_duration_milliseconds_sum", ORDERS] == pytest.approx(
        150, rel=0.125
    )
    assert found["dramatiq_messages_inprogress", ORDERS] == 2
    actor = ("actor", "place_orders")
    assert (
        found["holdfast_commands_decided_total", frozenset({actor, ("outcome", "applied")})] == 45
    )
    assert (
        found["holdfast_commands_decided_total", frozenset({actor, ("outcome", "rejected")})] == 5
    )
    assert found["holdfast_worker_processes", frozenset()] == 2


def test_without_a_process_there_are_the_names_and_no_figure_but_zero() -> None:
    assert set(scraped([]).values()) == {0}


@pytest.mark.parametrize("seconds", [0.0001, 0.0008, 0.05, 1.0, 99.0, 5_000.0])
def test_a_duration_is_counted_by_every_bucket_that_ends_after_it(seconds: float) -> None:
    counts = [0] * 140
    counts[bucket_of_time(seconds)] = 1

    buckets, _ = times(counts)

    assert all(count == (float(end) > seconds) for end, count in buckets)
    assert [float(end) for end, _ in buckets] == sorted({float(end) for end, _ in buckets})


@pytest.mark.parametrize("size", [1, 2, 3, 4, 500, 1_000, 5_000])
def test_a_size_is_counted_by_every_bucket_it_is_not_above(size: int) -> None:
    counts = [0] * 140
    counts[bucket(size)] = 1

    buckets, _ = sizes(counts)

    assert all(count == (float(end) >= size) for end, count in buckets)


@pytest.fixture
def gone() -> int:
    """The pid of a process that is no more."""
    ran = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(ran.stdout)


def test_a_process_that_died_counts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = Folder(parent=1)
    folder.write("gone", process(pid=gone))
    folder.write("here", process())

    assert [one.pid for one in folder.read()] == [os.getpid()]


def test_what_a_killed_group_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left, ours = Folder(parent=gone), Folder(parent=os.getpid())
    for folder in (left, ours):
        folder.write("a", process())

    remove_leftovers()

    assert list(tmp_path.iterdir()) == [ours.path]


def test_a_process_with_the_pid_of_one_that_died_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    died = process()
    died.began -= 1
    ours, of_another = Folder(parent=os.getpid()), Folder(parent=os.getpid())
    of_another.path = of_another.path.with_name(f"{of_another.path.name}0")
    of_another.write("a", process())
    ours.write("died", died)
    ours.write("here", process())

    remove_leftovers()

    assert list(tmp_path.iterdir()) == [ours.path]
    assert ours.read() == [process()]


def test_a_folder_with_a_number_that_is_no_pid_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"holdfast-worker-{os.getuid()}-{'9' * 40}").mkdir()

    remove_leftovers()

    assert list(tmp_path.iterdir()) == []


def test_a_process_is_told_from_one_that_is_gone() -> None:
    with subprocess.Popen(["sleep", "30"]) as running:
        assert began(running.pid) == began(running.pid) is not None
        running.kill()
    assert began(running.pid) is None
    assert began(10**40) is None


def test_the_folder_goes_with_the_last_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = Folder(parent=1)
    folder.write("a", process())
    folder.write("b", process())
    folder.remove("a")
    assert len(folder.read()) == 1

    folder.remove("b")

    assert not folder.path.exists()


def test_a_folder_that_someone_else_laid_out_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = Folder(parent=1)
    folder.path.symlink_to(tmp_path)

    with pytest.raises(PermissionError):
        folder.write("a", process())
    assert folder.read() == []


def test_a_process_that_could_not_write_once_writes_again_and_warned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given something where the folder ought to be
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    given = msgspec.structs.replace(settings(), worker_metrics_port=9191)
    idle = SimpleNamespace(workers=[], consumers={})
    left = Left(Reporter(idle, {}, given, Recorder(), lambda: None), given)
    Folder().path.write_text("in the way")

    left.write(WELL)
    left.write(WELL)
    assert len([r for r in caplog.records if "for now" in r.getMessage()]) == 1

    Folder().path.unlink()
    left.write(WELL)

    assert [one.pid for one in Folder().read()] == [os.getpid()]


def test_why_the_database_takes_no_reports_names_neither_its_host_nor_its_user() -> None:
    """The port that shows it asks for no key; the log has it all."""
    reporter = Reporter(
        SimpleNamespace(workers=[], consumers={}), {}, settings(), Recorder(), lambda: None
    )
    says = 'connection to server at "10.0.0.5", port 5432 failed: no password for user "shop"'

    def report() -> None:
        raise peewee.OperationalError(says)

    reporter._attempt(report)

    assert reporter.database_says == "no connection; see the log"
