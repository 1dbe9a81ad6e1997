"""What takes long on large tables, done while they are written to: the command `operate` in the
inbox, moves found by their order, failures found by all they are looked for by.

Each step is a transaction of its own: a lock that stops writers is held for a moment, what reads a
whole table lets them go on. Broken off in the middle, it begins again.
"""

atomic = False

KINDS = """
ALTER TABLE commands
    DROP CONSTRAINT IF EXISTS commands_kind_check,
    ADD CONSTRAINT commands_kind_check CHECK (kind IN ({kinds})) NOT VALID
"""
BEFORE = "'place_order', 'move_order', 'put_product', 'adjust_stock'"

INDEXES = {
    "commands_by_order": "commands (target) WHERE kind = 'move_order'",
    "dead_letters_by_state": "dead_letters (state, failed_at, id)",
    "dead_letters_by_group": (
        "dead_letters (state, actor, error_class, failed_at, id) INCLUDE (first_failed_at)"
    ),
    "dead_letters_by_subject": "dead_letters USING gin (subjects)",
    "dead_letters_by_word": "dead_letters USING gin (words)",
}


def up(_migrator, db):
    db.execute_sql(KINDS.format(kinds=f"{BEFORE}, 'operate'"))
    db.execute_sql("ALTER TABLE commands VALIDATE CONSTRAINT commands_kind_check")
    drop_indexes(db)
    # To build one waits for transactions that began before, and nobody waits for that.
    db.execute_sql("SET lock_timeout = 0")
    for name, index in INDEXES.items():
        db.execute_sql(f"CREATE INDEX CONCURRENTLY {name} ON {index}")
    db.execute_sql("SET lock_timeout = '60s'")


def down(_migrator, db):
    drop_indexes(db)
    db.execute_sql(KINDS.format(kinds=BEFORE))


def drop_indexes(db):
    for name in INDEXES:
        db.execute_sql(f"DROP INDEX IF EXISTS {name}")
