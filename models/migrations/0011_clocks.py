"""What each clock last said of itself: what only its process knows, for who judges the system.

All text in it is ASCII: names of queues and of arguments of policies.
"""

UP = """
CREATE TABLE clocks (
    id        text COLLATE "C" PRIMARY KEY,
    seen_at   timestamptz NOT NULL,
    -- Dropped messages that it holds for they can't be recorded: how many, by queue.
    held      jsonb NOT NULL,
    -- What policies of RabbitMQ do to the queues that they must not.
    conflicts text[] COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql("DROP TABLE clocks")
