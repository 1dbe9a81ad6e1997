-- One order of two lines in one transaction, as a good programmer would write it for one order at
-- a time: claim, lock the stock in SKU order, decide, write. Five round trips: the writes are one
-- statement, and the claimed id and the locked prices come back with \gset, at no further trip.
-- (pgbench wants every statement on one line. first_max: 1000 SKUs, or 1 for a hot one.)
\set customer random(1, 100000)
\set first random(1, :first_max)
\set second (:first + random(0, 998)) % 1000 + 1
BEGIN;
INSERT INTO commands (id, kind, status, placed_at, decided_at) VALUES (gen_random_uuid(), 'place_order', 'applied', now(), now()) ON CONFLICT DO NOTHING RETURNING id AS order_id \gset
SELECT min(sku) AS low, max(sku) AS high, min(currency) AS currency, (array_agg(unit_price))[1] AS low_price, (array_agg(unit_price))[2] AS high_price, bool_and(on_hand - allocated >= 1) AS enough FROM (SELECT s.sku, s.on_hand, s.allocated, p.unit_price, p.currency FROM stock AS s JOIN products AS p USING (sku) WHERE s.sku IN ('SKU-' || lpad((:first)::int::text, 4, '0'), 'SKU-' || lpad((:second)::int::text, 4, '0')) AND s.location = 'main' ORDER BY s.sku FOR NO KEY UPDATE OF s) AS locked \gset
\if :enough
WITH header AS (INSERT INTO orders (id, placed_at, customer_id, status, currency, total, version, updated_at, metadata) VALUES (:order_id::uuid, now(), 'c-' || :customer::int, 'confirmed', :currency, :low_price::bigint + :high_price::bigint, 1, now(), '{}')), line AS (INSERT INTO order_lines (order_id, placed_at, line_no, sku, quantity, unit_price, location) VALUES (:order_id::uuid, now(), 1, :low, 1, :low_price::bigint, 'main'), (:order_id::uuid, now(), 2, :high, 1, :high_price::bigint, 'main')), movement AS (INSERT INTO stock_movements (at, sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id) VALUES (now(), :low, 'main', 0, 1, 'placed', :order_id::uuid, :order_id::uuid), (now(), :high, 'main', 0, 1, 'placed', :order_id::uuid, :order_id::uuid)), event AS (INSERT INTO order_events (order_id, placed_at, sequence, type, at, data) VALUES (:order_id::uuid, now(), 1, 'order.confirmed', now(), '{}')) UPDATE stock SET allocated = allocated + 1, updated_at = now() WHERE sku IN (:low, :high) AND location = 'main';
\endif
COMMIT;
