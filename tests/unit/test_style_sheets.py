"""Dark is light in other colours: nothing moves, so that pages are measured in the light."""

import re

from config import ROOT

STATIC = ROOT / "web" / "dashboard" / "static"
COLOURS = {"color-scheme", "background", "background-color", "color", "border-color"}
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
COLOUR = r"(?:[\w#-]+|[\w-]+\([^()]*\))"
OF_COLOURS = re.compile(rf"light-dark\({COLOUR}, {COLOUR}\)")


def test_dark_changes_only_colours() -> None:
    for path in STATIC.glob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        # light-dark() takes colours and nothing else.
        assert "prefers-color-scheme" not in text, path.name
        for selector, body in RULE.findall(text):
            if re.search(r"data-theme|dark-mode", selector):
                properties = {each.partition(":")[0].strip() for each in body.split(";")} - {""}
                assert properties <= COLOURS, (path.name, selector)


def test_light_dark_is_used_for_colours_alone() -> None:
    """A browser drops the whole property where it is not, such as a shadow's."""
    for path in STATIC.glob("*.css"):
        text = path.read_text()
        assert text.count("light-dark(") == len(OF_COLOURS.findall(text)), path.name
