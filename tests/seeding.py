"""Many failures at once, as they are on record after a bad night."""

#: Failed orders of one unit each. Parameters: SKU, how many.
FAILED_ORDERS = """
WITH given AS (
    SELECT gen_random_uuid() AS id, %s::text AS sku, n,
           now() - (n %% 100000) * interval '1 second' AS at
    FROM generate_series(1, %s) AS n
), inbox AS (
    INSERT INTO commands (id, kind, status, placed_at, decided_at, problem)
    SELECT id, 'place_order', 'failed', now(), at, '{"title": "It could not be processed"}'
    FROM given
)
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, first_failed_at, trace_id, subjects)
SELECT id::text, 'holdfast.orders', 'place_orders', 6,
       (ARRAY['IntegrityError', 'ZeroDivisionError', 'KeyError', 'ValueError'])[1 + n %% 4],
       'a bug of kind ' || n %% 50,
       repeat(format(E'  File "actors/placing.py", line %%s, in place\n', n), 30),
       convert_to(json_build_object(
           'queue_name', 'holdfast.orders', 'actor_name', 'place_orders',
           'args', '[]'::json, 'options', '{}'::json,
           'message_id', id, 'message_timestamp', 0,
           'kwargs', json_build_object('commands', json_build_array(json_build_object(
               'id', id, 'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               'customer_id', 'c-' || n %% 1000, 'metadata', '{}'::json,
               'lines', json_build_array(json_build_object('sku', sku, 'quantity', 1)))))
       )::text, 'UTF8'),
       ARRAY[id], at, at - interval '15 s', replace(id::text, '-', ''),
       ARRAY['command:' || id, 'order:' || id, 'customer:c-' || n %% 1000, 'sku:' || sku]
FROM given
"""
