"""The tables of orders, stock and commands.

The large ones are partitioned by the month of `placed_at` (all that belongs to one order lies in
one month's partitions) or of `at` (the ledger). A unique key of a partitioned table has to contain
the partition key, so `commands`, the inbox that dedupes over all time, is not partitioned by time.
"""

UP = """
CREATE TABLE products (
    sku        text COLLATE "C" PRIMARY KEY CHECK (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    unit_price bigint NOT NULL CHECK (unit_price BETWEEN 0 AND 90000000000),
    currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX products_newest ON products (created_at, sku);

-- Rows are updated in place all the time: room on each page keeps those updates off the index.
CREATE TABLE stock (
    sku        text COLLATE "C" NOT NULL REFERENCES products,
    location   text NOT NULL,
    on_hand    bigint NOT NULL,
    allocated  bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (sku, location),
    CHECK (0 <= allocated AND allocated <= on_hand)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- The inbox and the outcome of every command: its id can take effect once.
-- `pending` is a failed command that an operator has put back.
CREATE TABLE commands (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL
        CHECK (kind IN ('place_order', 'move_order', 'put_product', 'adjust_stock')),
    status     text NOT NULL CHECK (status IN ('applied', 'rejected', 'failed', 'pending')),
    target     text COLLATE "C",
    placed_at  timestamptz NOT NULL,
    decided_at timestamptz NOT NULL,
    problem    jsonb
);

-- What an Idempotency-Key was first used for, per client; written by the front door.
CREATE TABLE idempotency_keys (
    key_hash    uuid PRIMARY KEY,
    fingerprint uuid NOT NULL,
    command_id  uuid NOT NULL,
    seen_at     timestamptz NOT NULL
);

CREATE TABLE orders (
    id          uuid NOT NULL,
    placed_at   timestamptz NOT NULL,
    customer_id text COLLATE "C" NOT NULL CHECK (length(customer_id) BETWEEN 1 AND 64),
    status      text NOT NULL CHECK (status IN
        ('confirmed', 'rejected', 'failed', 'shipped', 'delivered', 'cancelled', 'returned')),
    currency    text CHECK (currency ~ '^[A-Z]{3}$'),
    total       bigint CHECK (total >= 0),
    version     integer NOT NULL CHECK (version >= 1),
    updated_at  timestamptz NOT NULL,
    metadata    jsonb NOT NULL,
    rejection   jsonb,
    PRIMARY KEY (placed_at, id),
    CHECK ((status = 'rejected') = (rejection IS NOT NULL))
) PARTITION BY RANGE (placed_at);
CREATE INDEX orders_by_customer ON orders (customer_id, placed_at, id);
CREATE INDEX orders_by_status ON orders (status, placed_at, id);

CREATE TABLE order_lines (
    order_id   uuid NOT NULL,
    placed_at  timestamptz NOT NULL,
    line_no    smallint NOT NULL CHECK (line_no BETWEEN 1 AND 100),
    sku        text COLLATE "C" NOT NULL,
    quantity   integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    unit_price bigint CHECK (unit_price >= 0),
    location   text,
    PRIMARY KEY (placed_at, order_id, line_no)
) PARTITION BY RANGE (placed_at);
CREATE INDEX order_lines_by_sku ON order_lines (sku, placed_at, order_id);

CREATE TABLE order_events (
    order_id  uuid NOT NULL,
    placed_at timestamptz NOT NULL,
    sequence  integer NOT NULL CHECK (sequence >= 1),
    type      text NOT NULL CHECK (type IN
        ('order.confirmed', 'order.rejected', 'order.shipped', 'order.delivered',
         'order.cancelled', 'order.returned', 'order.failed')),
    at        timestamptz NOT NULL,
    data      jsonb NOT NULL,
    PRIMARY KEY (placed_at, order_id, sequence)
) PARTITION BY RANGE (placed_at);

-- The ledger: append-only; stock is the sum of it, in every snapshot.
CREATE TABLE stock_movements (
    at              timestamptz NOT NULL,
    sku             text COLLATE "C" NOT NULL,
    location        text NOT NULL,
    on_hand_delta   bigint NOT NULL,
    allocated_delta bigint NOT NULL,
    reason          text NOT NULL CHECK (reason IN
        ('placed', 'shipped', 'cancelled',
         'received', 'returned', 'damaged', 'lost', 'found', 'correction')),
    order_id        uuid,
    command_id      uuid NOT NULL,
    PRIMARY KEY (sku, at, command_id, location)
) PARTITION BY RANGE (at);

CREATE TABLE api_keys (
    id         text PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    hash       bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes     text[] NOT NULL,
    rate_limit text,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE dead_letters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text NOT NULL,
    queue       text NOT NULL,
    actor       text NOT NULL,
    attempts    integer NOT NULL,
    error_class text NOT NULL,
    error       text NOT NULL,
    traceback   text NOT NULL,
    body        bytea NOT NULL,
    command_ids uuid[] NOT NULL,
    failed_at   timestamptz NOT NULL,
    requeued_at timestamptz
);
CREATE INDEX dead_letters_newest ON dead_letters (failed_at, id);
CREATE INDEX dead_letters_by_command ON dead_letters USING gin (command_ids);

-- Counters of the actors' rate limiters.
CREATE TABLE rate_limits (
    key        text COLLATE "C" PRIMARY KEY,
    value      bigint NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);
"""

DOWN = """
DROP TABLE rate_limits, dead_letters, api_keys, stock_movements, order_events, order_lines, orders,
    idempotency_keys, commands, stock, products;
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql(DOWN)
