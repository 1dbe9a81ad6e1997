"""RabbitMQ, as its own Prometheus plugin tells of it."""

from deploy.grafana.panels import board, choice, figure, graph

NODE = 'instance=~"$instance"'
QUEUE = f'queue=~"$queue", {NODE}'


def _rate(metric: str) -> str:
    return f"sum(rate(rabbitmq_global_messages_{metric}_total{{{NODE}}}[$__rate_interval]))"


NOW = [
    figure("Nodes", "That answer.", "short",
           (f"count(rabbitmq_identity_info{{{NODE}}})", ""),
           (None, 1), low_is_bad=True, runbook="RabbitMQNodeMissing"),
    figure("Alarms", "Memory, disk, files: any blocks everybody who publishes.", "short",
           (f'sum({{__name__=~"rabbitmq_alarms_.+", {NODE}}})', ""),
           (None, 1), runbook="RabbitMQAlarm"),
    figure("Memory", "Of what the fullest node may use.", "percentunit",
           (f"max(rabbitmq_process_resident_memory_bytes{{{NODE}}} / "
            f"rabbitmq_resident_memory_limit_bytes{{{NODE}}})", ""),
           (0.6, 0.8), runbook="RabbitMQMemoryNearlyFull"),
    figure("Disk above the limit", "What the fullest node has left before it blocks.", "bytes",
           (f"min(rabbitmq_disk_space_available_bytes{{{NODE}}} - "
            f"rabbitmq_disk_space_available_limit_bytes{{{NODE}}})", ""),
           (5 * 2**30, 2**30), low_is_bad=True, runbook="RabbitMQDiskNearlyFull"),
    figure("Messages", "In all queues, also those of others.", "short",
           (f"sum(rabbitmq_queue_messages{{{NODE}}})", ""),
           (10_000, 70_000), runbook="HoldfastQueueNearlyFull"),
    figure("Connections", "Clients of all kinds.", "short",
           (f"sum(rabbitmq_connections{{{NODE}}})", "")),
]  # fmt: skip

MESSAGES = [
    graph("Published and confirmed", "What came in with a wish for a confirm, and what got one.",
          "ops",
          (_rate("received_confirm"), "published"),
          (_rate("confirmed"), "confirmed"), runbook="HoldfastPublishFails"),
    graph("Delivered and acknowledged", "To and by the workers.", "ops",
          (_rate("delivered"), "delivered"),
          (_rate("acknowledged"), "acknowledged")),
    graph("Delivered again, unroutable",
          "Again: a worker died, or put it back. Unroutable ones came back to their publisher, who "
          "declared the queue.", "ops",
          (_rate("redelivered"), "again"),
          (_rate("unroutable_returned"), "unroutable"),
          (_rate("unroutable_dropped"), "unroutable and dropped")),
]  # fmt: skip

QUEUES = [
    graph("Ready", "Of each queue: `.DQ` is delayed, `.XQ` dead.", "short",
          (f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{{{QUEUE}}})", "{{queue}}"),
          runbook="HoldfastMessagesOld"),
    graph("With a consumer", "Delivered and not acknowledged.", "short",
          (f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{{{QUEUE}}})", "{{queue}}")),
    graph("Consumers", "Of each queue.", "short",
          (f"sum by (queue) (rabbitmq_detailed_queue_consumers{{{QUEUE}}})", "{{queue}}"),
          runbook="HoldfastNoWorker"),
]  # fmt: skip

NODES = [
    graph("Memory", "Resident, of each node.", "bytes",
          (f"rabbitmq_process_resident_memory_bytes{{{NODE}}}", "{{instance}}"),
          (f"min(rabbitmq_resident_memory_limit_bytes{{{NODE}}})", "limit"),
          runbook="RabbitMQMemoryNearlyFull"),
    graph("Free disk", "Of each node.", "bytes",
          (f"rabbitmq_disk_space_available_bytes{{{NODE}}}", "{{instance}}"),
          (f"max(rabbitmq_disk_space_available_limit_bytes{{{NODE}}})", "limit"),
          runbook="RabbitMQDiskNearlyFull"),
    graph("Connections and channels", "Of each node.", "short",
          (f"rabbitmq_connections{{{NODE}}}", "{{instance}} connections"),
          (f"rabbitmq_channels{{{NODE}}}", "{{instance}} channels")),
    graph("Connections opened and closed", "Many are a client that does not keep its own.", "ops",
          (f"sum(rate(rabbitmq_connections_opened_total{{{NODE}}}[$__rate_interval]))", "opened"),
          (f"sum(rate(rabbitmq_connections_closed_total{{{NODE}}}[$__rate_interval]))", "closed")),
    graph("Traffic", "Of the clients.", "Bps",
          (f"sum(rate(rabbitmq_connection_incoming_bytes_total{{{NODE}}}[$__rate_interval]))",
           "in"),
          (f"sum(rate(rabbitmq_connection_outgoing_bytes_total{{{NODE}}}[$__rate_interval]))",
           "out")),
]  # fmt: skip

BOARD = board(
    "holdfast-rabbitmq",
    "RabbitMQ",
    "RabbitMQ, as its own Prometheus plugin tells of it.",
    [choice("instance", "Node", "label_values(rabbitmq_identity_info, instance)"),
     choice("queue", "Queue", "label_values(rabbitmq_detailed_queue_messages_ready, queue)")],
    [("Now", NOW), ("Messages", MESSAGES), ("Queues", QUEUES), ("Nodes", NODES)],
)  # fmt: skip
