"""Moves that came before their order was decided; and of each order, what moved it last.

A move that was accepted before the one that its order last took, and comes after it, is refused.
What was moved before this migration takes every move.
"""

UP = """
CREATE TABLE waiting_moves (
    -- In the order of arrival.
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id    uuid NOT NULL,
    command_id  uuid NOT NULL UNIQUE,
    accepted_at timestamptz NOT NULL,
    since       timestamptz NOT NULL,
    moves_to    text COLLATE "C" NOT NULL,
    -- All of the command, as JSON.
    command     text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE INDEX waiting_moves_of_order ON waiting_moves (order_id, position);

ALTER TABLE orders ADD COLUMN move_accepted_at timestamptz, ADD COLUMN moved_by uuid;
"""

DOWN = """
ALTER TABLE orders DROP COLUMN move_accepted_at, DROP COLUMN moved_by;
DROP TABLE waiting_moves;
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql(DOWN)
