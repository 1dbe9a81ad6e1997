"""Tracebacks as the page of a failure shows them."""

import traceback

import msgspec

from web.dashboard.tracebacks import parts

TEXT = """\
Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/peewee.py", line 3322, in execute_sql
    cursor.execute(sql, params or ())
psycopg2.errors.CheckViolation: no price
CONTEXT:  PL/pgSQL function cursed_order()

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/dramatiq/worker.py", line 487, in process_message
    res = actor(*message.args, **message.kwargs)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 58, in run
    result = self.fn()
  File "/srv/holdfast/actors/placing.py", line 60, in place_orders
    _placing.submit(commands)
peewee.IntegrityError: no price
"""


def test_frames_of_libraries_are_folded_and_ours_are_not() -> None:
    found = parts(TEXT)

    assert [part.libraries for part in found] == [
        [], ["peewee"], [], ["dramatiq", "concurrent"], []
    ]  # fmt: skip
    assert found[3].frames == 2
    assert "actors/placing.py" in found[4].text
    assert "peewee.IntegrityError: no price" in found[4].text
    assert "CheckViolation" in found[2].text


def test_together_the_parts_are_all_of_it() -> None:
    for text in (TEXT, "", "no traceback\n", '  File "cut off', TEXT.rstrip("\n")):
        assert "".join(part.text for part in parts(text)) == text


def test_a_real_traceback_opens_at_the_frame_of_this_file() -> None:
    try:
        msgspec.json.decode(b"[", dec_hook=None, type=int)
    except msgspec.DecodeError:
        text = traceback.format_exc()

    assert __file__ in "".join(part.text for part in parts(text) if not part.libraries)
