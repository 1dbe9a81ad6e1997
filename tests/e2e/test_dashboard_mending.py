"""Failures at the dashboard: put back, discarded, and by whom not."""

import json
from datetime import UTC, datetime

import httpx

from tests.conftest import eventually
from tests.e2e.operators import Look
from tests.e2e.scene import Scene
from web.ids import COMMAND

MANY = 300


def test_readers_see_no_buttons_and_are_refused(scene: Scene) -> None:
    failure = scene.failure(scene.many[0])
    for path in ("/dashboard/failures?view=list", f"/dashboard/failures/{failure}"):
        look = scene.reader.look(path)
        assert look.may_do() == []
        assert not look.says("Retry")
    csrf = dict(scene.reader.look("/dashboard/failures").form("/dashboard/sign-out").fields)
    for path in ("/dashboard/failures/retry", "/dashboard/failures/discard"):
        data = {**csrf, "scope": "selected", "ids": str(failure), "reason": "none"}
        assert scene.reader.client.post(path, data=data).status_code == 403
        assert scene.reader.client.get(path).status_code == 403
    assert scene.open() == len(scene.many) + 1


def test_a_form_from_elsewhere_changes_nothing(scene: Scene) -> None:
    look = scene.operator.look(f"/dashboard/failures/{scene.failure(scene.many[0])}")
    before = scene.open()
    fields = dict(look.form("/dashboard/failures/retry").fields)
    for headers, change in (
        ({"Sec-Fetch-Site": "cross-site"}, {}),
        ({}, {"csrf": "made-up"}),
    ):
        answer = scene.operator.client.post(
            "/dashboard/failures/retry", data=fields | change, headers=headers
        )
        assert answer.status_code == 403
    assert scene.open() == before


def test_acting_on_nothing_chosen_never_means_everything(scene: Scene) -> None:
    look = scene.operator.look("/dashboard/failures?view=list")
    before = scene.open()

    unticked = scene.operator.send(look, "/dashboard/failures/retry")
    bare = scene.operator.send(look, "/dashboard/failures/retry", scope=None)

    assert (unticked.status_code, bare.status_code) == (422, 422)
    assert "Tick the failures first" in Look(unticked).words
    assert scene.open() == before


def _retry(scene: Scene, failure: int) -> Look:
    look = scene.operator.look(f"/dashboard/failures/{failure}")
    return scene.operator.submit(look, "/dashboard/failures/retry")


def test_a_retry_of_what_is_not_mended_is_a_failure_of_its_own(scene: Scene) -> None:
    (order_id,) = scene.fail("cursed-again")
    first = scene.failure(order_id)

    done = _retry(scene, first)

    assert done.says("Done.", "Put back")
    eventually(lambda: scene.failure(order_id) > first, within_s=180, what="it failed again")
    again = scene.operator.look(f"/dashboard/failures/{scene.failure(order_id)}")
    assert again.says("Other failures of the same commands")
    assert f"/dashboard/failures/{first}" in again.links
    assert again.may_do()
    assert (
        f"/dashboard/failures/{first}" in scene.operator.look(f"/dashboard/orders/{order_id}").links
    )


def test_discarding_takes_a_reason_and_keeps_it(scene: Scene) -> None:
    first, second = scene.fail("cursed-discarded", "cursed-discarded")
    look = scene.operator.look("/dashboard/failures?q=customer:cursed-discarded")
    ids = [str(scene.failure(first)), str(scene.failure(second))]

    # The ticked ones, from the list: a page asks for the reason.
    form = look.form("/dashboard/failures/retry")
    asked = Look(scene.operator.client.post(
        "/dashboard/failures/discard", data={**dict(form.fields), "ids": ids}
    ))  # fmt: skip
    assert asked.says("Discard 2 failures", "a dry run")
    refused = scene.operator.send(asked, "/dashboard/failures/discard", reason="  ")
    assert refused.status_code == 422
    scene.operator.submit(asked, "/dashboard/failures/discard", reason="a test's, =not needed")

    discarded = scene.operator.until(
        "/dashboard/failures?state=discarded&q=customer:cursed-discarded", "a test's, =not needed"
    )
    assert len(discarded.rows) == 3
    assert discarded.may_do() == []
    one = scene.operator.look(f"/dashboard/failures/{ids[0]}")
    assert one.says("Discarded", "a test's, =not needed")
    assert one.may_do() == []
    assert scene.shop.order(first)["status"] == "failed"
    audit = scene.operator.look("/dashboard/audit?action=discard_failures")
    (row,) = [row for row in audit.rows if "a test's, =not needed" in row]
    assert "Olga" in row
    assert "applied" in row
    assert "127.0.0.1" in row


def test_what_was_settled_since_it_was_ticked_is_not_counted(scene: Scene) -> None:
    look = scene.operator.look("/dashboard/failures?view=list")
    ids = [str(scene.failure(order_id)) for order_id in scene.many[:5]]
    fields = dict(look.form("/dashboard/failures/retry").fields)
    settle = "UPDATE dead_letters SET state = %s, settled_at = %s WHERE id = ANY (%s::bigint[])"
    scene.system.sql(settle, "retried", datetime.now(UTC), ids[:2])

    def ask(ticked: list[str]) -> Look:
        data = {**fields, "ids": ticked}
        return Look(scene.operator.client.post("/dashboard/failures/discard", data=data))

    some, none = ask(ids), ask(ids[:2])

    scene.system.sql(settle, "failed", None, ids[:2])
    assert some.says("Discard 3 failures?", "2 of the 5 were settled meanwhile")
    assert none.says("Nothing matches any more")


def test_everything_that_matches_is_retried_after_a_dry_run_with_progress(scene: Scene) -> None:
    scene.system.sql("DROP TRIGGER curse ON orders")
    path = "/dashboard/failures/retry?q=customer:cursed-many&error_class=IntegrityError"
    asked = scene.operator.look(path)
    assert asked.says(
        f"Retry {MANY} failures", "a dry run", "with an error of class IntegrityError",
        "about the customer cursed-many",
    )  # fmt: skip
    others = scene.open() - MANY

    progress = scene.operator.submit(asked, "/dashboard/failures/retry")
    twice = scene.operator.submit(asked, "/dashboard/failures/retry")

    assert progress.url.path.startswith("/dashboard/operations/")
    assert twice.url.path == progress.url.path
    assert "progress" in progress.tags or progress.says("Waiting for a worker")
    done = scene.operator.until(
        progress.url.path, f"{MANY} failures retried", f"{MANY} of {MANY}", "By Olga"
    )
    assert "every 1s" not in done.answer.text
    assert scene.open() == others
    eventually(
        lambda: {scene.shop.order(id_)["status"] for id_ in scene.many} == {"confirmed"},
        within_s=60, what="all are decided",
    )  # fmt: skip
    ((settled,),) = scene.system.sql(
        "SELECT count(*) FROM dead_letters WHERE settled_by = %s", progress.url.path.split("/")[-1]
    )
    assert settled == MANY
    nothing = scene.operator.look(path)
    assert nothing.says("Nothing matches any more")


BROKEN_OFF = """
WITH inbox AS (
    INSERT INTO commands (id, kind, status, placed_at, decided_at, problem)
    SELECT %s, 'operate', 'failed', now(), now(),
           '{"title": "It could not be processed", "detail": "A bug."}'
), work AS (
    INSERT INTO operations (command_id, action, filter, total, done, skipped, last_id, started_at)
    SELECT %s, 'retry_failures', '{"do": "retry_failures", "filter": {"up_to_id": 9}}', 9, 4, 0, 4,
           now()
)
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, first_failed_at)
VALUES ('m', 'holdfast.operations', 'operate', 6, 'OddError', 'e', 't', 'b', ARRAY[%s::uuid],
        now(), now())
RETURNING id
"""


def test_an_operation_that_failed_says_so_and_where_to_see_why(scene: Scene) -> None:
    id_ = scene.mint.new(COMMAND)
    ((letter,),) = scene.system.sql(BROKEN_OFF, id_, id_, id_)

    look = scene.operator.look(f"/dashboard/operations/{id_}")

    scene.system.sql("DELETE FROM dead_letters WHERE id = %s", letter)
    assert look.says("Retrying broke off after 4 failures", "It could not be processed", "OddError")
    assert f"/dashboard/failures/{letter}" in look.links
    assert "every 1s" not in look.answer.text


def test_a_made_up_operation_is_not_there(scene: Scene) -> None:
    made_up = "00000000-0000-4000-8000-000000000000"
    assert scene.reader.look(f"/dashboard/operations/{made_up}").status == 404


def test_a_bearer_key_may_read_and_act(scene: Scene) -> None:
    (letter,) = json.loads(
        scene.shop.client.get("/dashboard/failures/export.json", params={"order": scene.hostile})
        .text or "[]"
    ) or [None]  # fmt: skip
    assert letter is not None
    answer: httpx.Response = scene.shop.client.post(
        "/dashboard/failures/retry", data={"scope": "selected", "ids": str(letter["id"])}
    )
    assert answer.status_code == 303
    eventually(
        lambda: scene.shop.order(scene.hostile)["status"] == "confirmed", what="it is decided"
    )
