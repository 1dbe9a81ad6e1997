"""What operators see and do: figures of actors, queues and workers, failures, controls, the audit.

Figures are kept at four resolutions (10 s, 1 min, 5 min, 1 h) and written at all at once, so that
no roll-up has to run and every chart reads a few hundred rows. A histogram is an array of counts;
its buckets are those of models/rules/histograms.py.

The old failures are read twice, and locked meanwhile (a worker that has one to record tries again):
to fill the new columns while the rows are small, then to find the words of each.
"""

UP = """
ALTER TABLE dead_letters RENAME COLUMN requeued_at TO settled_at;
ALTER TABLE dead_letters
    -- Workers of the version before don't say when.
    ADD COLUMN first_failed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN trace_id text NOT NULL DEFAULT '',
    -- What it is about: order:ID, command:ID, sku:SKU, customer:ID.
    ADD COLUMN subjects text[] NOT NULL DEFAULT '{}',
    ADD COLUMN state text NOT NULL DEFAULT 'failed'
        CHECK (state IN ('failed', 'retried', 'discarded')),
    -- The command that put it back or discarded it.
    ADD COLUMN settled_by uuid,
    ADD COLUMN discard_reason text;
UPDATE dead_letters SET first_failed_at = failed_at,
    state = CASE WHEN settled_at IS NULL THEN 'failed' ELSE 'retried' END,
    subjects = ARRAY(
        SELECT kind || ':' || id
        FROM unnest(command_ids) AS id, unnest(ARRAY['command', 'order']) AS kind
        WHERE kind = 'command' OR actor = 'place_orders'
    );
ALTER TABLE dead_letters
    ADD COLUMN words tsvector NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', left(error_class || ' ' || error || ' ' || traceback, 100000))
    ) STORED,
    ADD CHECK ((state = 'failed') = (settled_at IS NULL)),
    ADD CHECK ((state = 'discarded') = (discard_reason IS NOT NULL));

CREATE TABLE actor_stats (
    resolution_s integer NOT NULL CHECK (resolution_s IN (10, 60, 300, 3600)),
    at           timestamptz NOT NULL,
    actor        text COLLATE "C" NOT NULL,
    -- Whose figures they are; '' in the coarser rows, which are of all workers.
    worker       text COLLATE "C" NOT NULL,
    -- Messages: done, attempts that failed, of these tried again, given up, held by a limit.
    handled      bigint NOT NULL,
    failed       bigint NOT NULL,
    retried      bigint NOT NULL,
    dead         bigint NOT NULL,
    limited      bigint NOT NULL,
    -- Commands: decided, and of these refused.
    decided      bigint NOT NULL,
    refused      bigint NOT NULL,
    -- Histograms: commands per transaction; a message's wait and its run; a command's whole way
    -- from its acceptance to its commit.
    batch        bigint[] NOT NULL,
    waited       bigint[] NOT NULL,
    ran          bigint[] NOT NULL,
    took         bigint[] NOT NULL,
    PRIMARY KEY (resolution_s, at, actor, worker)
) WITH (fillfactor = 50);

CREATE TABLE queue_stats (
    resolution_s integer NOT NULL CHECK (resolution_s IN (10, 60, 300, 3600)),
    at           timestamptz NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    -- Messages: waiting, delayed, with a worker; the most that was seen. oldest_s: age of the
    -- oldest, null where none waits or it can't be told.
    ready        bigint NOT NULL,
    delayed      bigint NOT NULL,
    unacked      bigint NOT NULL,
    consumers    integer NOT NULL,
    oldest_s     double precision,
    PRIMARY KEY (resolution_s, at, queue)
) WITH (fillfactor = 50);

CREATE TABLE workers (
    id           text COLLATE "C" PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    version      text NOT NULL,
    started_at   timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    threads      integer NOT NULL,
    threads_busy integer NOT NULL,
    memory_bytes bigint NOT NULL,
    -- Per queue: what it holds of it (see actors/heartbeat.py).
    holds        jsonb NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE paused_queues (
    queue     text COLLATE "C" PRIMARY KEY,
    reason    text NOT NULL,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL
);

-- Limits that operators have set; an actor without one here has that of its settings.
CREATE TABLE actor_limits (
    actor      text COLLATE "C" PRIMARY KEY,
    rate_limit text NOT NULL,
    set_by     text NOT NULL,
    set_at     timestamptz NOT NULL
);

-- Work on many failures, done in steps; a redelivery goes on where the last step ended.
CREATE TABLE operations (
    command_id  uuid PRIMARY KEY,
    action      text NOT NULL,
    filter      jsonb NOT NULL,
    total       bigint NOT NULL,
    done        bigint NOT NULL,
    skipped     bigint NOT NULL,
    last_id     bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX operations_running ON operations (started_at) WHERE finished_at IS NULL;

-- Who did what, when, from where; with what result says `commands`.
CREATE TABLE audit_log (
    command_id uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    key_id     text NOT NULL,
    key_name   text NOT NULL,
    address    text NOT NULL,
    agent      text NOT NULL,
    action     text NOT NULL,
    target     text COLLATE "C" NOT NULL,
    details    jsonb NOT NULL
);
CREATE INDEX audit_log_newest ON audit_log (at, command_id);
CREATE INDEX audit_log_by_target ON audit_log (target, at, command_id);

-- What the comparison of stock and ledger found.
CREATE TABLE reconciliations (
    at          timestamptz PRIMARY KEY,
    took_ms     integer NOT NULL,
    skus        bigint NOT NULL,
    differences bigint NOT NULL,
    examples    jsonb NOT NULL
);
"""

DOWN = """
DROP TABLE reconciliations, audit_log, operations, actor_limits, paused_queues, workers,
    queue_stats, actor_stats;
ALTER TABLE dead_letters DROP COLUMN words, DROP COLUMN discard_reason, DROP COLUMN settled_by,
    DROP COLUMN state, DROP COLUMN subjects, DROP COLUMN trace_id, DROP COLUMN first_failed_at;
ALTER TABLE dead_letters RENAME COLUMN settled_at TO requeued_at;
"""


def up(_migrator, db):
    db.execute_sql(UP)


def down(_migrator, db):
    db.execute_sql(DOWN)
