"""What a run has shown, for people."""

from collections import defaultdict
from statistics import median

from tests.torture.checker import Verdict
from tests.torture.history import Event


def report(verdict: Verdict, again: str) -> str:
    """The whole report, as text. again: the command that does the same again."""
    return "\n".join(
        [
            f"{again}: {len(verdict.recoveries)} faults fired",
            "",
            *_counts(verdict),
            "",
            *_recoveries(verdict.recoveries),
            "",
            *_conclusion(verdict, again),
        ]
    )


def _counts(verdict: Verdict) -> list[str]:
    counts = {
        "orders accepted": verdict.accepted,
        "decided": verdict.decided,
        "lost": verdict.lost,
        "duplicated": verdict.duplicated,
        "refused requests": verdict.refused,
        "unknown answers": verdict.unknown,
        "changes in turn": verdict.in_turn,
        "oversold units": verdict.oversold,
        "ledger differences": verdict.ledger_differences,
        "undrained messages": verdict.undrained,
    }
    return [f"{name:26} {count:10,}" for name, count in counts.items()]


def _recoveries(events: list[Event]) -> list[str]:
    by_fault: dict[str, list[float]] = defaultdict(list)
    for event in events:
        by_fault[event.fault].append(
            float("inf") if event.recovered_s is None else event.recovered_s
        )
    every = [s for times in by_fault.values() for s in times]
    lines = [f"{'time to recover, s':40} times   median    worst"]
    lines += [
        f"  {fault:38} {len(times):5} {median(times):8.1f} {max(times):8.1f}"
        for fault, times in sorted(by_fault.items())
    ]
    if every:
        lines.append(f"  {'all':38} {len(every):5} {median(every):8.1f} {max(every):8.1f}")
    return lines


def _conclusion(verdict: Verdict, again: str) -> list[str]:
    lines = [f"NOT SEEN   {text}" for text in verdict.not_proved]
    lines += [f"BROKEN     {text}" for text in verdict.broken]
    if not verdict.valid:
        lines.append("The run proves nothing: what it needs did not happen.")
    elif verdict.broken:
        lines.append(f"A promise is broken. The same again: {again}")
    else:
        lines.append("Every promise held.")
    return lines
