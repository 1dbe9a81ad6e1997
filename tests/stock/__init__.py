"""What stock Dramatiq, pika, Peewee and Falcon do to messages, shown on the stock parts.

`python -m tests.stock 1` shows trap 1 on a RabbitMQ of its own; docs/dramatiq-traps.md says what
each means. Nothing of Holdfast runs here but the starting of servers: a trap that closes upstream
fails in test_stock_traps.py, and tells that code of ours may go.
"""
