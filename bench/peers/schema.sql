-- The tables of both peers, of the same kinds as Holdfast's: no partitions and no foreign keys
-- but one, so that each row costs them no more than it costs Holdfast.
CREATE TABLE products (
    sku        text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    unit_price bigint NOT NULL CHECK (unit_price >= 0),
    currency   text NOT NULL
);

CREATE TABLE stock (
    sku        text COLLATE "C" PRIMARY KEY REFERENCES products,
    on_hand    bigint NOT NULL,
    allocated  bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (0 <= allocated AND allocated <= on_hand)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- A key that is here has had its effect: a message that comes twice does nothing the second time.
CREATE TABLE idempotency_keys (
    key     uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders (
    id          uuid PRIMARY KEY,
    customer_id text COLLATE "C" NOT NULL,
    status      text NOT NULL,
    currency    text,
    total       bigint,
    placed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_by_customer ON orders (customer_id, placed_at);
CREATE INDEX orders_by_status ON orders (status, placed_at);

CREATE TABLE order_lines (
    order_id   uuid NOT NULL,
    line_no    smallint NOT NULL,
    sku        text COLLATE "C" NOT NULL,
    quantity   integer NOT NULL CHECK (quantity > 0),
    unit_price bigint,
    PRIMARY KEY (order_id, line_no)
);
CREATE INDEX order_lines_by_sku ON order_lines (sku, order_id);

CREATE TABLE order_events (
    order_id uuid NOT NULL,
    sequence integer NOT NULL,
    type     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    data     jsonb NOT NULL,
    PRIMARY KEY (order_id, sequence)
);

CREATE TABLE stock_movements (
    sku             text COLLATE "C" NOT NULL,
    at              timestamptz NOT NULL DEFAULT now(),
    on_hand_delta   bigint NOT NULL,
    allocated_delta bigint NOT NULL,
    reason          text NOT NULL,
    order_id        uuid NOT NULL,
    PRIMARY KEY (sku, at, order_id)
);
