"""What every picture of ours is made of: small SVGs, drawn without any library."""

from collections.abc import Sequence
from html import escape

INK = "#334155"


def page(title: str, width: int, height: int, drawn: Sequence[str]) -> str:
    """A whole SVG with its title on it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" font-family="system-ui, sans-serif">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            text(20, 34, title, size=17, weight=600),
            *drawn,
            "</svg>\n",
        ]
    )


def text(
    x: float, y: float, words: str, *, size: int = 13, weight: int = 400, anchor: str = "start"
) -> str:
    """Words at a place."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{INK}">{escape(words)}</text>'
    )
