"""Attempts at messages that came again: who began one and never ended it died of it, perhaps."""

UP = """
CREATE TABLE attempts (
    message_id text COLLATE "C" PRIMARY KEY,
    -- How many of them began while nothing else ran in their process.
    alone      integer NOT NULL,
    last_at    timestamptz NOT NULL
) WITH (fillfactor = 50);
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql("DROP TABLE attempts")
