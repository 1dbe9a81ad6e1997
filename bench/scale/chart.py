"""Lines on two logarithmic scales, as a small SVG."""

import math
from collections.abc import Mapping, Sequence

from bench.drawing import page, text

WIDTH, HEIGHT = 860, 430
LEFT, RIGHT, TOP, BOTTOM = 80, 250, 60, 60
COLOURS = ("#0f766e", "#1d4ed8", "#7c3aed", "#b91c1c", "#b45309", "#475569")
DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 4", "1 3")
GRID = "#e2e8f0"

Points = Sequence[tuple[float, float]]


def svg(title: str, lines: Mapping[str, Points], across: str, up: str) -> str:
    """A line a name, told apart by dashes as well as by colour. All values above zero."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    bottom, top = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * _share(x, min(xs), max(xs)),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(y, bottom, top),
        )

    drawn: list[str] = []
    for value in _steps(bottom, top):
        x, y = place(min(xs), value)
        drawn.append(f'<path d="M{x:.0f} {y:.0f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        drawn.append(text(x - 8, y + 4, f"{value:,.0f}", anchor="end", size=12))
    for x_value in sorted(set(xs)):
        x, y = place(x_value, bottom)
        drawn.append(text(x, y + 20, f"{x_value:,.0f}", anchor="middle", size=12))
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(text(middle, HEIGHT - 14, across, anchor="middle", size=12))
    drawn.append(text(LEFT, TOP - 12, up, size=12))
    for number, (name, points) in enumerate(lines.items()):
        style = (f'stroke="{COLOURS[number]}" stroke-width="2.5" fill="none" '
                 f'stroke-dasharray="{DASHES[number]}"')  # fmt: skip
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        drawn.append(f'<polyline points="{path}" {style}/>')
        y = TOP + 24 * number
        drawn.append(f'<path d="M{WIDTH - RIGHT + 16} {y}h34" {style}/>')
        drawn.append(text(WIDTH - RIGHT + 58, y + 4, name, size=12))
    return page(title, WIDTH, HEIGHT, drawn)


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low) if high > low else 0.5


def _steps(low: float, high: float) -> list[float]:
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    steps = [10.0**power * factor for power in powers for factor in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]
