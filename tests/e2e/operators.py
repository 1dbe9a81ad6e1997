"""An operator at the dashboard, as a browser without JavaScript: follows links, sends forms."""

from html.parser import HTMLParser
from secrets import token_hex
from typing import Any, NamedTuple
from urllib.parse import urljoin

import httpx

from models.queries import api_keys
from tests.conftest import System, eventually

#: What comes from outside and may hold anything.
HOSTILE = "<script>window.owned=1</script>\"'><img src=x onerror=alert(1)>&amp;"
UNLOADED = {"area", "base", "br", "hr", "img", "input", "link", "meta"}


class Form(NamedTuple):
    """A form of a page. fields: as they would be sent if nobody touched them."""

    method: str
    action: str
    fields: list[tuple[str, str]]
    buttons: list[str]


class Look(HTMLParser):
    """A page as a person sees it: its words, its links, its forms, its tables' rows."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.status = answer.status_code
        self.url = answer.url
        self.words = ""
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.tags: set[str] = set()
        self.rows: list[str] = []
        self._open: list[str] = []
        self._select = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        assert not any(name.startswith("on") for name in given), f"a handler in the page: {given}"
        assert "style" not in given, f"an inline style: {given}"
        if tag not in UNLOADED:
            self._open.append(tag)
        if tag == "a":
            self.links.append(given.get("href", ""))
        if tag == "tr":
            self.rows.append("")
        if tag == "form":
            action = given.get("action", "")
            self.forms.append(Form(given.get("method", "get"), action, [], []))
        if "form" in self._open:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        form, name = self.forms[-1], given.get("name", "")
        if tag == "input" and name:
            ticked = given.get("type") != "checkbox" or "checked" in given
            if ticked:
                form.fields.append((name, given.get("value", "")))
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in given:
            form.fields.append((self._select, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.words += data + " "
            if "tr" in self._open:
                self.rows[-1] += data + " "
            if "button" in self._open and self.forms and "form" in self._open:
                self.forms[-1].buttons.append(data.strip())

    def says(self, *words: str) -> bool:
        """Whether all of these are to be read on the page."""
        text = " ".join(self.words.split())
        return all(" ".join(each.split()) in text for each in words)

    def form(self, action: str) -> Form:
        """The form that is sent to an address."""
        found = [form for form in self.forms if form.action == action and form.method == "post"]
        assert found, f"no form for {action} among {[form.action for form in self.forms]}"
        return found[0]

    def may_do(self) -> list[str]:
        """Where the page's forms would change something, but for signing out."""
        posts = [form.action for form in self.forms if form.method == "post"]
        return [action for action in posts if action != "/dashboard/sign-out"]


class Operator:
    """Somebody signed in with a key."""

    def __init__(self, system: System, key: str) -> None:
        self.system = system
        self.client = httpx.Client(
            base_url=system.base_url, timeout=40,
            headers={"Sec-Fetch-Site": "same-origin", "User-Agent": "a test's browser"},
        )  # fmt: skip
        answer = self.client.post("/dashboard/sign-in", data={"api_key": key})
        assert answer.status_code == 303, answer.text

    def close(self) -> None:
        self.client.close()

    def look(self, path: str, **query: Any) -> Look:
        """A page, wherever it leads."""
        answer = self.client.get(path, params=query or None, follow_redirects=True)
        return Look(answer)

    def submit(self, look: Look, action: str, **fields: Any) -> Look:
        """Send a form of a page with some fields changed; where that leads."""
        return Look(self.send(look, action, **fields))

    def send(self, look: Look, action: str, **fields: Any) -> httpx.Response:
        form = look.form(action)
        data: dict[str, Any] = {}
        for name, value in form.fields:
            data.setdefault(name, []).append(value)
        data |= fields
        kept = {name: value for name, value in data.items() if value is not None}
        address = urljoin(str(look.url), action)
        return self.client.post(address, data=kept, follow_redirects=True)

    def until(self, path: str, *words: str, within_s: float = 60) -> Look:
        """A page, once it says something."""

        def looked() -> Look | None:
            look = self.look(path)
            return look if look.says(*words) else None

        found: Look = eventually(looked, within_s=within_s, what=f"{path} says {words}")
        return found


def new_key(system: System, name: str, *scopes: str) -> str:
    """A key of somebody; returns its token. (The command for it takes its time.)"""
    token = api_keys.new_token()
    system.sql(
        "INSERT INTO api_keys (id, name, hash, scopes, created_at) VALUES (%s, %s, %s, %s, now())",
        f"key_{token_hex(6)}", name, api_keys.hash_token(token), list(scopes),
    )  # fmt: skip
    return token
