"""Who gets into the dashboard, how long, and what browsers are allowed there."""

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import API_KEY, CHECKOUT, System, eventually
from tests.e2e.conftest import MakeKey
from tests.e2e.shop import fresh

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PAUSE = "/dashboard/queues/holdfast.skus/pause"
RESUME = "/dashboard/queues/holdfast.skus/resume"
_addresses = (f"203.0.113.{n}" for n in itertools.count(1))


def a_browser(base_url: str, **headers: str) -> httpx.Client:
    """A browser at an address of its own, as the router in front tells it."""
    told = {"X-Forwarded-For": next(_addresses), **headers}
    return httpx.Client(base_url=base_url, headers=told, timeout=60)


def sign_in(browser: httpx.Client, key: str, after: str = "") -> httpx.Response:
    return browser.post(
        "/dashboard/sign-in", data={"api_key": key, "next": after}, headers=SAME_ORIGIN
    )


def token(browser: httpx.Client) -> str:
    """The token that the session's forms carry."""
    match = re.search(r'name="csrf-token" content="([^"]+)"', browser.get("/dashboard").text)
    assert match
    return match[1]


@pytest.fixture
def browser(system: System) -> Iterator[httpx.Client]:
    with a_browser(system.base_url) as browser:
        yield browser


@pytest.fixture
def operator(browser: httpx.Client) -> httpx.Client:
    """Signed in, and may do everything."""
    assert sign_in(browser, API_KEY).status_code == 303
    return browser


@pytest.fixture
def reader(browser: httpx.Client, make_key: MakeKey) -> httpx.Client:
    """Signed in, and may look."""
    assert sign_in(browser, make_key("dashboard:read")).status_code == 303
    return browser


# --- in and out ---


def test_the_root_leads_to_the_dashboard_and_on_to_the_sign_in_page(browser: httpx.Client) -> None:
    assert browser.get("/").headers["location"] == "/dashboard"
    assert browser.get("/dashboard").headers["location"] == "/dashboard/sign-in"
    shared = browser.get("/dashboard/failures?actor=place_orders")
    assert shared.status_code == 303
    assert shared.headers["location"] == (
        "/dashboard/sign-in?next=%2Fdashboard%2Ffailures%3Factor%3Dplace_orders"
    )


@pytest.mark.parametrize("scope", ["dashboard:read", "dashboard:operate"])
def test_a_key_for_the_dashboard_signs_in(
    browser: httpx.Client, make_key: MakeKey, scope: str
) -> None:
    answer = sign_in(browser, make_key(scope), "/dashboard/workers")

    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/workers")
    assert browser.get("/dashboard/workers").status_code == 200


def test_another_key_is_told_why_it_is_not_enough(browser: httpx.Client, make_key: MakeKey) -> None:
    answer = sign_in(browser, make_key("orders:write"))

    assert answer.status_code == 403
    for word in ("dashboard:read", "dashboard:operate", "orders:write"):
        assert word in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("wrong", ["", "hf_nonsense", API_KEY + "x", "\x00", "ü" * 300])
def test_what_is_no_key_does_not_sign_in(browser: httpx.Client, wrong: str) -> None:
    answer = sign_in(browser, wrong)

    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers
    assert browser.get("/dashboard").status_code == 303


def test_who_signed_in_in_another_tab_may_sign_in_here_too(operator: httpx.Client) -> None:
    assert sign_in(operator, API_KEY).status_code == 303
    assert operator.get("/dashboard").status_code == 200


def test_signing_out_ends_the_session_of_this_browser(operator: httpx.Client) -> None:
    assert operator.get("/dashboard/sign-out").status_code == 405

    answer = operator.post(
        "/dashboard/sign-out", data={"csrf": token(operator)}, headers=SAME_ORIGIN
    )

    assert answer.headers["location"] == "/dashboard/sign-in"
    assert operator.get("/dashboard").status_code == 303


def test_attempts_are_throttled_per_address(system: System) -> None:
    with a_browser(system.base_url) as guesser, a_browser(system.base_url) as neighbour:
        answers = [sign_in(guesser, "hf_guess") for _ in range(12)]

        assert {answer.status_code for answer in answers[:10]} == {401}
        refused = sign_in(guesser, API_KEY)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "Too many attempts" in refused.text
        assert sign_in(neighbour, API_KEY).status_code == 303


def test_attempts_leave_a_line_and_a_count_and_nothing_of_the_key(system: System) -> None:
    guess = "hf_a-guess-that-nobody-may-read"
    line = "A sign-in from 2001:db8:7:7::/64 was refused: throttled"
    metrics = f"http://127.0.0.1:{system.metrics_ports['web']}/metrics"
    counted = r'holdfast_sign_ins_total\{outcome="throttled"\} [1-9]'
    with a_browser(system.base_url, **{"X-Forwarded-For": "2001:db8:7:7::1"}) as guesser:
        # A second has ten lines, and others may have filled this one.
        eventually(lambda: sign_in(guesser, guess) and line in system.log("web").read_text())

    assert guess not in system.log("web").read_text()
    eventually(lambda: re.search(counted, httpx.get(metrics).text))


def test_of_two_cookies_neither_counts(browser: httpx.Client, operator: httpx.Client) -> None:
    """Which one a reader takes differs: one of them may be planted."""
    ((name, good),) = operator.cookies.items()
    browser.cookies.clear()

    def status(*cookies: str) -> int:
        return browser.get("/dashboard", headers={"Cookie": "; ".join(cookies)}).status_code

    assert status(f"{name}={good}", "another=x") == 200
    assert status(f"{name}={good}", f"{name}=planted") == 303
    assert status(f"{name}=planted", f"{name}={good}") == 303


def test_clients_whose_router_adds_their_ports_are_told_apart(
    system: System, client: httpx.Client
) -> None:
    for n in range(11):
        with a_browser(system.base_url, **{"X-Forwarded-For": f"198.51.100.{n}:50001"}) as wrong:
            assert sign_in(wrong, "hf_guess").status_code == 401
    with a_browser(system.base_url, **{"X-Forwarded-For": "198.51.100.99:50001"}) as right:
        assert sign_in(right, API_KEY).status_code == 303

    reason = fresh("from-afar")
    told = {"X-Forwarded-For": "[2001:db8::7]:443"}
    assert client.post(PAUSE, data={"reason": reason}, headers=told).status_code == 303
    statement = "SELECT address FROM audit_log WHERE details::text LIKE %s"
    found = eventually(lambda: system.sql(statement, f"%{reason}%"))
    client.post(RESUME)

    assert found == [("2001:db8::7",)]


def test_a_made_up_address_is_nobody_s_and_breaks_no_command(
    system: System, client: httpx.Client
) -> None:
    reason = fresh("by-a-liar")
    told = {"X-Forwarded-For": "fe80::1%" + "x" * 5000, "User-Agent": "a" * 5000}

    assert client.post(PAUSE, data={"reason": reason}, headers=told).status_code == 303
    statement = """
        SELECT address, length(agent) FROM audit_log
        WHERE action = 'pause_queue' AND details::text LIKE %s
    """
    found = eventually(lambda: system.sql(statement, f"%{reason}%"))
    client.post(RESUME)

    assert found == [("127.0.0.1", 300)]


@pytest.mark.parametrize(
    "after",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/dashboard\\@evil.example",
     "javascript:alert(1)", "/v1/orders", "/dashboardevil", "/dashboard/../v1/orders",
     "/dashboard/\r\nSet-Cookie: a=b", "\t//evil.example", "/dashboard/sign-out",
     "///evil.example"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(browser: httpx.Client, after: str) -> None:
    assert sign_in(browser, API_KEY, after).headers["location"] == "/dashboard"
    assert browser.get("/dashboard/sign-in", params={"next": after}).headers["location"] == (
        "/dashboard"
    )


# --- the cookie ---


def cookie_of(answer: httpx.Response) -> tuple[str, set[str]]:
    """The name of the cookie that an answer sets, and its attributes."""
    name, *attributes = answer.headers["set-cookie"].split("; ")
    return name.partition("=")[0], {one.lower() for one in attributes}


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(
    system: System, browser: httpx.Client
) -> None:
    name, attributes = cookie_of(sign_in(browser, API_KEY))

    assert name == f"holdfast-{system.port}"
    assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= attributes
    assert "secure" not in attributes


def test_over_tls_the_cookie_is_bound_to_host_and_tls(system: System) -> None:
    with a_browser(system.base_url, Host="shop.example", **{"X-Forwarded-Proto": "https"}) as tls:
        name, attributes = cookie_of(sign_in(tls, API_KEY))

        assert name == "__Host-holdfast"
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
        assert not any(one.startswith("domain") for one in attributes)


def test_over_plain_http_from_elsewhere_there_is_no_session(system: System) -> None:
    with a_browser(system.base_url, Host="shop.example") as far:
        assert "TLS" in far.get("/dashboard/sign-in").text

        answer = sign_in(far, API_KEY)

        assert answer.status_code == 403
        assert "TLS" in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["[", "[::1", "localhost:x", "127.0.0.1.evil.example", "@localhost:1"]
)
def test_a_host_that_is_none_of_loopback_s_gets_no_session(system: System, host: str) -> None:
    with a_browser(system.base_url, Host=host) as far:
        answer = sign_in(far, API_KEY)

        assert answer.status_code < 500
        assert "Secure" not in answer.headers.get("set-cookie", "")
        if host != "localhost:x":
            assert "set-cookie" not in answer.headers


def test_a_cookie_that_was_tampered_with_is_none(operator: httpx.Client, system: System) -> None:
    (name, good) = next(iter(operator.cookies.items()))
    # Not its last character, two bits of which mean nothing.
    forged = good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]
    for bad in (forged, "x" + good, "", "a.b.c", good * 2):
        with a_browser(system.base_url) as forger:
            forger.cookies.set(name, bad)
            assert forger.get("/dashboard").status_code == 303
            assert forger.get("/dashboard/live/overview?poll=1").status_code == 401


def test_a_revoked_key_ends_its_sessions_within_seconds(
    system: System, browser: httpx.Client
) -> None:
    made = system.run("keys", "create", fresh("leaver"), "--scope", "dashboard:read")
    sign_in(browser, made.split()[-1])
    assert browser.get("/dashboard").status_code == 200

    system.run("keys", "revoke", made.split()[1].rstrip("."))

    eventually(lambda: browser.get("/dashboard").status_code == 303)


def test_the_key_is_in_no_page_and_no_cookie(operator: httpx.Client) -> None:
    pages = [operator.get(path).text for path in ("/dashboard", "/dashboard/actors")]

    assert not any(API_KEY in text for text in (*pages, *operator.cookies.values()))


# --- who may do what ---


def test_a_reader_sees_no_buttons_and_is_refused(reader: httpx.Client, system: System) -> None:
    for path in ("/dashboard", "/dashboard/actors", "/dashboard/workers", "/dashboard/delayed"):
        page = reader.get(path).text
        forms = re.findall(r'<form method="post" action="([^"]+)"', page)
        assert forms == ["/dashboard/sign-out"] * len(forms)
        assert "data-dialog" not in page
    assert reader.get(PAUSE).status_code == 403

    answer = reader.post(PAUSE, data={"reason": "no", "csrf": token(reader)}, headers=SAME_ORIGIN)

    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "dashboard:operate" in answer.text
    assert system.sql("SELECT * FROM paused_queues WHERE queue = 'holdfast.skus'") == []


def test_a_bearer_key_works_on_pages_and_needs_no_token(
    system: System, client: httpx.Client
) -> None:
    assert client.get("/dashboard").status_code == 200

    assert client.post(PAUSE, data={"reason": "by script"}).status_code == 303
    assert client.post(RESUME).status_code == 303
    with system.client("hf_wrong") as stranger:
        assert stranger.get("/dashboard").status_code == 401


def test_a_bearer_key_counts_alone_whatever_cookie_comes_along(
    operator: httpx.Client, make_key: MakeKey
) -> None:
    weak = {"Authorization": f"Bearer {make_key('dashboard:read')}", **SAME_ORIGIN}

    answer = operator.post(PAUSE, data={"reason": "x", "csrf": token(operator)}, headers=weak)

    assert answer.status_code == 403


def test_a_limited_key_is_charged_on_pages_as_elsewhere(
    browser: httpx.Client, make_key: MakeKey
) -> None:
    sign_in(browser, make_key("dashboard:read", rate_limit="3/hour"))

    answers = [browser.get("/dashboard/workers") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["content-type"].startswith("text/html")
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_the_password_of_a_proxy_in_front_is_no_key(operator: httpx.Client) -> None:
    behind = {"Authorization": "Basic dGhlOnByb3h5"}
    form = {"reason": "behind a proxy", "csrf": token(operator)}

    assert operator.get("/dashboard", headers=behind).status_code == 200
    # It neither counts for the cookie nor switches off what the cookie needs.
    assert operator.post(PAUSE, data=form, headers=behind).status_code == 403
    assert (
        operator.post(PAUSE, data={"reason": "x"}, headers=behind | SAME_ORIGIN).status_code == 403
    )
    assert operator.post(PAUSE, data=form, headers=behind | SAME_ORIGIN).status_code == 303
    assert (
        operator.post(RESUME, data={"csrf": form["csrf"]}, headers=behind | SAME_ORIGIN).status_code
        == 303
    )
    operator.cookies.clear()
    assert operator.get("/dashboard", headers=behind).status_code == 303


# --- forged requests ---


@pytest.mark.parametrize("more", ["api_key=x", "nonsense=1", "next=/dashboard&next=/docs"])
def test_a_form_with_a_repeated_or_an_unknown_field_signs_nobody_in(
    browser: httpx.Client, more: str
) -> None:
    headers = {**SAME_ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}

    answer = browser.post(
        "/dashboard/sign-in", content=f"api_key={API_KEY}&{more}", headers=headers
    )

    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("page", ["sign-in", "sign-out"])
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_nobody_is_signed_in_or_out_by_another_site_whatever_it_sends(
    operator: httpx.Client, page: str, scheme: str
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Authorization": f"{scheme} {API_KEY}"}
    form = {"api_key": API_KEY, "csrf": token(operator)}

    answer = operator.post(f"/dashboard/{page}", data=form, headers=headers)

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Sec-Fetch-Site": "none"}, {"Origin": "https://evil.example"}, {"Origin": "null"},
     {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}],
    ids=str,
)  # fmt: skip
def test_what_no_page_of_ours_sent_is_refused(
    operator: httpx.Client, system: System, headers: dict[str, str]
) -> None:
    told = {k: v.replace("OWN", system.base_url) for k, v in headers.items()}
    for path, form in ((PAUSE, {"reason": "x", "csrf": token(operator)}),
                       ("/dashboard/sign-in", {"api_key": API_KEY})):  # fmt: skip
        answer = operator.post(path, data=form, headers=told)

        assert answer.status_code == 403
        assert "Nothing was changed" in answer.text


@pytest.mark.parametrize("csrf", [None, "", "x", "ü", "0" * 32])
def test_a_form_without_its_token_is_refused(operator: httpx.Client, csrf: str | None) -> None:
    form = {"reason": "x"} if csrf is None else {"reason": "x", "csrf": csrf}

    assert operator.post(PAUSE, data=form, headers=SAME_ORIGIN).status_code == 403


def test_the_token_of_another_session_is_refused(operator: httpx.Client, system: System) -> None:
    with a_browser(system.base_url) as other:
        sign_in(other, API_KEY)
        stolen = token(other)

    answer = operator.post(PAUSE, data={"reason": "x", "csrf": stolen}, headers=SAME_ORIGIN)

    assert answer.status_code == 403


def test_an_old_browser_is_known_by_its_origin(operator: httpx.Client, system: System) -> None:
    headers = {"Origin": system.base_url}
    form = {"reason": "by an old browser", "csrf": token(operator)}

    assert operator.post(PAUSE, data=form, headers=headers).status_code == 303
    assert operator.post(RESUME, data={"csrf": form["csrf"]}, headers=headers).status_code == 303


def test_a_proxy_that_writes_the_port_into_host_stands_in_nobodys_way(system: System) -> None:
    behind = {
        "Host": "shop.example:443", "Origin": "https://shop.example", "X-Forwarded-Proto": "https",
    }  # fmt: skip
    with a_browser(system.base_url, **behind) as browser:
        signed_in = browser.post("/dashboard/sign-in", data={"api_key": API_KEY})
        assert signed_in.status_code == 303
        # By hand: this client's jar does not know that the way to the proxy is TLS.
        browser.headers["Cookie"] = signed_in.headers["Set-Cookie"].partition(";")[0]
        form = {"reason": "behind a proxy", "csrf": token(browser)}

        assert browser.post(PAUSE, data=form).status_code == 303
        assert browser.post(RESUME, data={"csrf": form["csrf"]}).status_code == 303


def test_a_proxy_that_hides_the_host_is_named(operator: httpx.Client) -> None:
    form = {"reason": "behind a proxy", "csrf": token(operator)}
    behind = {"Host": "web:8000", "Origin": "https://shop.example"}

    answer = operator.post(PAUSE, data=form, headers=behind)

    assert answer.status_code == 403
    for words in (
        "Origin header is “https://shop.example”",
        "Host header “web:8000”",
        "A proxy in front",
    ):
        assert words in answer.text


def test_a_form_sent_twice_takes_effect_once(operator: httpx.Client) -> None:
    form = {"reason": "twice", "csrf": token(operator), "key": fresh("click")}

    first, second = (operator.post(PAUSE, data=form, headers=SAME_ORIGIN) for _ in range(2))
    operator.post(RESUME, data={"csrf": form["csrf"]}, headers=SAME_ORIGIN)

    assert first.headers["location"] == second.headers["location"]


# --- what browsers are told ---


@pytest.mark.parametrize(
    "path",
    ["/dashboard", "/dashboard/sign-in", "/dashboard/actors", "/dashboard/nothing-here",
     "/dashboard/data/throughput.json", "/dashboard/live/overview?poll=1"],
)  # fmt: skip
def test_every_answer_carries_its_guards(operator: httpx.Client, path: str) -> None:
    answer = operator.get(path)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_only_scripts_with_this_answers_nonce_run(operator: httpx.Client) -> None:
    first, second = operator.get("/dashboard"), operator.get("/dashboard")
    nonces = [re.findall(r"'nonce-([^']+)'", one.headers["content-security-policy"])
              for one in (first, second)]  # fmt: skip

    assert nonces[0] != nonces[1]
    for answer, (nonce,) in zip((first, second), nonces, strict=True):
        scripts = re.findall(r"<script[^>]*>", answer.text)
        assert scripts
        assert all(f'nonce="{nonce}"' in tag for tag in scripts)
        assert not re.search(r"\son\w+=|\sstyle=", answer.text)


def test_static_files_are_kept_for_ever_under_the_hash_of_their_content(
    operator: httpx.Client,
) -> None:
    files = set(
        re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', operator.get("/dashboard").text)
    )
    assert len(files) >= 6
    for file in files:
        answer = operator.get(file)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        hashed = file.split(".")[-2]
        assert hashlib.sha256(answer.content).hexdigest().startswith(hashed)
    for missing in ("style.css", "style.000000000000.css", "..%2fpage.py", "%2e%2e/app.py"):
        assert operator.get(f"/dashboard/static/{missing}").status_code == 404


def test_what_was_vendored_is_what_was_published() -> None:
    folder: Path = CHECKOUT / "web/dashboard/static/vendor"
    lines = (folder / "CHECKSUMS").read_text().splitlines()
    sums: dict[str, str] = {name: digest for digest, name in (line.split() for line in lines)}

    found = {path.name for path in folder.iterdir()} - {"CHECKSUMS", "README.md"}
    assert found == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("path", ["/dashboard/nothing", "/dashboard/live/nothing?poll=1"])
def test_what_is_not_there_says_so(operator: httpx.Client, path: str) -> None:
    answer = operator.get(path)

    assert answer.status_code == 404
    kind = "text/html" if path == "/dashboard/nothing" else "application/problem+json"
    assert answer.headers["content-type"].startswith(kind)


def test_hostile_words_are_shown_and_not_run(operator: httpx.Client, client: httpx.Client) -> None:
    hostile = "</td><script>alert(1)</script><img src=x onerror=alert(1)> \" ' & {{ 7*7 }}"

    client.post(PAUSE, data={"reason": hostile})
    paths = ("/dashboard", "/dashboard/actors", RESUME, "/dashboard/live/actors?poll=1")
    eventually(lambda: all("alert(1)" in operator.get(path).text for path in paths))
    pages = [operator.get(path).text for path in paths]
    client.post(RESUME)

    for page in pages:
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(.{0,60})", page)[0]


def test_hostile_addresses_are_answered_and_not_echoed_as_they_are(operator: httpx.Client) -> None:
    for path in (
        "/dashboard/queues/%3Cscript%3Ealert(1)%3C%2Fscript%3E/pause",
        "/dashboard/actors/%22%3E%3Cimg%20src%3Dx%3E/limit",
        "/dashboard?window=%3Cscript%3E",
        "/dashboard?done=%3Cscript%3E",
    ):
        answer = operator.get(path)
        assert answer.status_code in (200, 404, 422)
        assert "<script>a" not in answer.text
        assert "<img" not in answer.text
