"""What is left of months that are no longer kept: that they were there, and what their stock was.

Their movements are gone, so stock is the sum of those that are kept and of the opening balances.
"""

UP = """
-- From the latest end on, everything is kept. A month without finished_at is still being removed.
CREATE TABLE retired_months (
    starts_at   timestamptz PRIMARY KEY,
    ends_at     timestamptz NOT NULL CHECK (ends_at > starts_at),
    action      text NOT NULL CHECK (action IN ('detach', 'drop', 'export')),
    retired_at  timestamptz NOT NULL,
    -- What was exported: files, rows, columns, checksums.
    manifest    jsonb,
    finished_at timestamptz
);

-- The sums of all movements of retired months.
CREATE TABLE opening_balances (
    sku       text COLLATE "C" NOT NULL,
    location  text NOT NULL,
    on_hand   bigint NOT NULL,
    allocated bigint NOT NULL,
    PRIMARY KEY (sku, location)
);
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql("DROP TABLE opening_balances, retired_months")
