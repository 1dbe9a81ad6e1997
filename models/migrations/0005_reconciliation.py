"""What a reconciliation found, check by check.

What is kept by the version before says nothing of the checks, and is told by their absence. It may
still run, or again: its columns stay, and have defaults.
"""

UP = """
ALTER TABLE reconciliations
    -- What was decided from then on was looked at; null: everything.
    ADD COLUMN since timestamptz,
    -- Per check: its name, what holds, how many differences, some of them explained.
    ADD COLUMN checks jsonb,
    ALTER COLUMN skus SET DEFAULT 0,
    ALTER COLUMN examples SET DEFAULT '[]';
"""

DOWN = """
ALTER TABLE reconciliations
    ALTER COLUMN examples DROP DEFAULT,
    ALTER COLUMN skus DROP DEFAULT,
    DROP COLUMN checks,
    DROP COLUMN since;
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql(DOWN)
