"""When the latest PUT of each product was accepted, and its command.

A PUT that was accepted before that one, and comes to be decided after it, must not replace it. What
was put before this migration counts as older than everything.
"""

UP = """
ALTER TABLE products ADD COLUMN accepted_at timestamptz, ADD COLUMN writer uuid;
"""

DOWN = """
ALTER TABLE products DROP COLUMN accepted_at, DROP COLUMN writer;
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql(DOWN)
