"""The alert rules: each fires and rests as it should, and leads to what to do about it."""

import re
import subprocess

import msgspec
import pytest

from actors.metrics import times
from config import ROOT, Settings
from deploy.local import programs
from deploy.local.install import NotInstalledError

FOLDER = ROOT / "deploy" / "prometheus"
PAGES = ROOT / "docs" / "runbooks"
RULES = (FOLDER / "alerts.yml").read_text() + (FOLDER / "rules.yml").read_text()
ALERTS = list(dict.fromkeys(re.findall(r"alert: (\w+)", RULES)))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    promtool = programs.program("promtool")
    return subprocess.run(
        [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )


def test_each_alert_fires_on_what_it_is_for_and_rests_otherwise() -> None:
    tested = run("test", "rules", "alerts_test.yml")

    assert tested.returncode == 0, tested.stdout + tested.stderr
    shown = (FOLDER / "alerts_test.yml").read_text()
    for alert in ALERTS:
        assert re.search(rf'(alertname: |alertname="){alert}\b', shown), f"nothing shows {alert}"


def test_each_alert_says_what_it_is_and_what_to_do() -> None:
    rules = re.split(r"- alert: ", RULES)[1:]

    assert len(rules) >= 35
    for rule in rules:
        name = rule.split()[0]
        assert all(f"{part}: " in rule for part in ("severity", "summary", "description"))
        base = r"{{ or $externalLabels.runbooks \"docs/runbooks\" }}"
        assert f'runbook_url: "{base}/{name}.md"\n' in rule


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    index = (PAGES / "README.md").read_text()
    pages = {page.stem: page.read_text() for page in PAGES.glob("*.md") if page.stem != "README"}

    assert set(pages) == set(ALERTS)
    for name, page in pages.items():
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == ["Look", "Do"]
        assert f"[{name}]({name}.md)" in index


def test_each_runbook_that_the_dashboard_leads_to_is_there() -> None:
    named = re.findall(r'"(Holdfast[A-Z]\w+)"', (ROOT / "actors" / "verdict.py").read_text())

    assert len(named) >= 6
    assert set(named) <= {page.stem for page in PAGES.glob("*.md")}


def test_links_of_the_runbooks_lead_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for link, anchor in re.findall(r"\]\(([\w./-]+)(#[\w-]+)?\)", page.read_text()):
            target = page.parent / link
            assert target.is_file(), f"{page.name}: {link}"
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {"#" + heading.lower().replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, f"{page.name}: {link}{anchor}"


def test_the_rules_ask_for_metrics_that_are_there() -> None:
    documented = (ROOT / "docs" / "observability.md").read_text()
    asked = re.sub(r"\w+:\w+(:\w+)?", "", RULES)

    for metric in set(re.findall(r"\b(?:holdfast|dramatiq)_\w+", asked)):
        name = re.sub(r"_(bucket|count|sum)$", "", metric)
        assert f"`{name}" in documented, metric


def test_the_rules_know_the_defaults_that_they_lean_on() -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    buckets = [end for end, _ in times([])[0]]

    assert f"> 0.7 * {defaults['queue_length_max']}\n" in RULES
    assert f"> {defaults['reconcile_every_s'] * 3 / 3600:.0f} * 3600\n" in RULES
    assert set(re.findall(r'le="(.*?)"', RULES)) <= set(buckets)


def test_without_a_program_the_person_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(NotInstalledError, match="apt-get install prometheus"):
        programs.ensure_installed(["promtool"])
