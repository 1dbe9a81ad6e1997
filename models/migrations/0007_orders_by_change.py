"""Orders by when they changed last, for clients that pull changes: see decision 28.

Each month's index is built while orders are placed; the index of the whole table is valid when it
has one of every month. A month that is made meanwhile brings its own. Broken off in the middle, it
goes on where it was.
"""

atomic = False

INDEX = "orders_by_change"

#: Months without an index that works, and the name of one that a crash left half built.
MISSING = f"""
SELECT p.relname, leftover.relname
FROM pg_inherits AS i
JOIN pg_class AS p ON p.oid = i.inhrelid
LEFT JOIN pg_class AS leftover
    ON leftover.relname = p.relname || '_by_change' AND leftover.relkind = 'i'
WHERE i.inhparent = 'orders'::regclass AND NOT i.inhdetachpending
  AND NOT EXISTS (SELECT FROM pg_index AS x JOIN pg_inherits AS a ON a.inhrelid = x.indexrelid
                  WHERE x.indrelid = p.oid AND a.inhparent = '{INDEX}'::regclass)
ORDER BY p.relname
"""


def up(_migrator, db):
    db.execute_sql(f"CREATE INDEX IF NOT EXISTS {INDEX} ON ONLY orders (updated_at)")
    # To build one waits for transactions that began before, and nobody waits for that.
    db.execute_sql("SET lock_timeout = 0")
    for month, leftover in db.execute_sql(MISSING).fetchall():
        name = f"{month}_by_change"
        if leftover:
            db.execute_sql(f"DROP INDEX {name}")
        db.execute_sql(f"CREATE INDEX CONCURRENTLY {name} ON {month} (updated_at)")
        db.execute_sql(f"ALTER INDEX {INDEX} ATTACH PARTITION {name}")
    db.execute_sql("SET lock_timeout = '60s'")


def down(_migrator, db):
    db.execute_sql(f"DROP INDEX IF EXISTS {INDEX}")
