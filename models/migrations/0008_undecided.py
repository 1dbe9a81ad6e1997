"""Commands that were accepted and could not be decided yet: what they are, and what stops them.

Written only when an attempt fails. Every text in it is ASCII, so that any encoding of the database
holds it, and no constraint looks at what failed: the record must not fail with its subject.
"""

UP = """
CREATE TABLE undecided (
    command_id  uuid PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL,
    actor       text COLLATE "C" NOT NULL,
    queue       text COLLATE "C" NOT NULL,
    message_id  text COLLATE "C" NOT NULL,
    -- As in commands: an order's id or a SKU; NULL where it is the command's own id.
    target      text COLLATE "C",
    customer_id text COLLATE "C",
    skus        text[] COLLATE "C" NOT NULL,
    accepted_at timestamptz NOT NULL,
    -- The command as JSON; NULL where that is too long.
    body        text COLLATE "C",
    -- Attempts that failed, put-backs and waits, one like the other.
    attempts    bigint NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    error_class text COLLATE "C" NOT NULL,
    error       text COLLATE "C" NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX undecided_accepted ON undecided (accepted_at DESC, command_id DESC);
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql("DROP TABLE undecided")
