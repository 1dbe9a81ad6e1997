"""The picture: orders per second as bars, drawn as a small SVG without any library."""

from bench.drawing import page, text
from bench.figures import Measured
from bench.report import ROWS, Row, rate

WIDTH, LABELS, VALUES = 860, 250, 90
BAR, HOT, GAP, TOP, BOTTOM = 22, 10, 16, 58, 30
OURS, OURS_HOT = "#0f766e", "#5eaaa3"
OTHERS, OTHERS_HOT = "#94a3b8", "#cbd5e1"


def svg(measured: Measured, caption: str) -> str:
    """A thick bar for 1,000 SKUs and a thin one for a hot SKU, from the slowest way to ours."""
    rows = [row for row in ROWS if measured.rate(*row.uniform)]
    rates = [measured.rate(*series) or 0 for row in rows for series in (row.uniform, row.hot)]
    height = TOP + len(rows) * (BAR + HOT + GAP) + BOTTOM
    drawn = [
        _row(row, measured, max(rates), TOP + number * (BAR + HOT + GAP))
        for number, row in enumerate(rows)
    ]
    return page(
        "Orders per second, decided and committed", WIDTH, height,
        [*drawn, text(20, height - 14, caption, size=11)],
    )  # fmt: skip


def _row(row: Row, measured: Measured, longest: float, top: int) -> str:
    ours = "Holdfast" in row.short
    label = text(
        LABELS - 10, top + BAR / 2 + 5, row.short, anchor="end", weight=600 if ours else 400
    )
    uniform, hot = measured.rate(*row.uniform), measured.rate(*row.hot)
    bars = [label, _bar(uniform, longest, top, BAR, OURS if ours else OTHERS, size=13)]
    bars.append(_bar(hot, longest, top + BAR, HOT, OURS_HOT if ours else OTHERS_HOT, size=10))
    return "\n".join(bars)


def _bar(
    value: float | None, longest: float, top: int, thickness: int, colour: str, *, size: int
) -> str:
    if value is None:
        return ""
    length = max(2.0, (WIDTH - LABELS - VALUES) * value / longest)
    return "\n".join(
        [
            f'<rect x="{LABELS}" y="{top}" width="{length:.1f}" height="{thickness}" rx="2" '
            f'fill="{colour}"/>',
            text(
                LABELS + length + 8, top + thickness / 2 + size / 3, rate(value),
                size=size, weight=600 if thickness == BAR else 400,
            ),
        ]
    )  # fmt: skip
