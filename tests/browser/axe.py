"""axe-core on a page: what keeps people with impairments from using it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.browser.rig import Tab

VENDOR = Path(__file__).resolve().parents[1] / "vendor"
SOURCE = VENDOR / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async ([tags, rules]) => {
    const only = rules.length ? {type: "rule", values: rules} : {type: "tag", values: tags};
    const {violations} = await axe.run(document, {runOnly: only, resultTypes: ["violations"]});
    return violations.filter(({impact}) => ["serious", "critical"].includes(impact))
        .map(({id, help, nodes}) => ({id, help, nodes: nodes.slice(0, 4).map(
            ({html, any, all}) => [html.slice(0, 160), [...any, ...all].map(c => c.message)[0]])}));
}"""


def serious(tab: Tab, *rules: str) -> list[dict[str, Any]]:
    """Serious and critical findings on the page that a tab shows; of all rules without any.

    The tab needs axe-core as its script.
    """
    found: list[dict[str, Any]] = tab.run(RUN, [TAGS, list(rules)])
    return found


def is_whole() -> bool:
    """Whether the vendored files are those that were taken from npm."""
    named: dict[str, str] = {}
    for line in (VENDOR / "CHECKSUMS").read_text().splitlines():
        checksum, name = line.split(maxsplit=1)
        named[name] = checksum
    return SOURCE.name in named and named == {name: _checksum(VENDOR / name) for name in named}


def _checksum(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
