"""What of a page is cut off or out of reach in its window."""

from pathlib import Path

from tests.browser.rig import Tab

WIDTHS = (360, 768, 1024, 1280, 2560)
HEIGHT = 900
#: Dark changes colours alone (a unit test holds the style sheets to that), so the ends will do.
SCHEMES = {"light": WIDTHS, "dark": (WIDTHS[0], WIDTHS[-1])}

CUT_OFF = (Path(__file__).parent / "cut_off.js").read_text()


def faults(tab: Tab, name: str) -> list[str]:
    """What is wrong with the page that a tab shows, at every width, and dark at some."""
    found = []
    for scheme, widths in SCHEMES.items():
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in widths:
            tab.page.set_viewport_size({"width": width, "height": HEIGHT})
            found += [f"{name}, {width} px, {scheme}: {fault}" for fault in tab.run(CUT_OFF)]
    return found
