"""Ctrl-C on a task of `holdfast` that waits for PostgreSQL."""

import contextlib
import os
import signal
import subprocess
import sys

import psycopg2

from tests.conftest import CHECKOUT, eventually


def test_ctrl_c_ends_what_waits_for_the_database(migrated: None) -> None:
    code = (
        "import os, psycopg2; from actors.terminal import ending\n"
        "cursor = psycopg2.connect(os.environ['DATABASE_URL']).cursor()\n"
        "ending.run(lambda: cursor.execute('SELECT pg_sleep(600) -- of the terminal'))"
    )
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%of the terminal' AND pid <> %s"
    with (
        contextlib.closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection,
        subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT) as task,
    ):
        connection.autocommit = True
        cursor = connection.cursor()

        def sleepers() -> list[tuple[int]]:
            cursor.execute(sleeping, (connection.get_backend_pid(),))
            return cursor.fetchall()

        ((pid,),) = eventually(sleepers)
        task.send_signal(signal.SIGINT)

        assert task.wait(60) == -signal.SIGINT
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
