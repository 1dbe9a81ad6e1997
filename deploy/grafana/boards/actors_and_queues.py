"""What the workers do, and what waits for them."""

from deploy.grafana.panels import board, choice, figure, graph

ACTOR = 'actor_name=~"$actor"'
OWN = 'actor=~"$actor"'
QUEUE = 'queue_name=~"$queue"'


def _rate(metric: str, by: str = "actor_name", where: str = ACTOR) -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "actor_name", where: str = ACTOR) -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'{by}, le', where)})"


NOW = [
    figure("Workers", "Worker processes that reported within 15 s.", "short",
           ("max(holdfast_workers)", ""),
           (None, 1), low_is_bad=True, runbook="HoldfastNoWorker"),
    figure("Threads at work", "Of all threads of all workers.", "percentunit",
           ("sum(holdfast_worker_threads_busy) / sum(holdfast_worker_threads)", ""),
           (0.7, 0.9), runbook="HoldfastWorkersBusy"),
    figure("Messages that wait", "Ready and delayed, in all queues.", "short",
           ('sum(holdfast_queue_messages{state=~"ready|delayed"})', ""),
           (10_000, 70_000), runbook="HoldfastQueueNearlyFull"),
    figure("Oldest message", "Of those that wait or are with a worker.", "s",
           ("max(holdfast_queue_oldest_message_age_seconds)", ""),
           (10, 60), runbook="HoldfastMessagesOld"),
    figure("Failures open", "Failed for good, and nobody has settled them.", "short",
           ("sum(holdfast_failures_open)", ""),
           (1, 100), runbook="HoldfastFailuresOpen"),
    figure("Dead letters", "Messages that could not even be recorded.", "short",
           ('sum(holdfast_queue_messages{state="dead"})', ""),
           (None, 1), runbook="HoldfastDeadLetters"),
]  # fmt: skip

QUEUES = [
    graph("Ready", "Messages that a worker could take.", "short",
          (f'holdfast_queue_messages{{state="ready", {QUEUE}}}', "{{queue_name}}"),
          limit=70_000, stacked=True, runbook="HoldfastQueueNearlyFull"),
    graph("Delayed", "Messages that are tried again later.", "short",
          (f'holdfast_queue_messages{{state="delayed", {QUEUE}}}', "{{queue_name}}"),
          runbook="HoldfastAttemptsFail"),
    graph("With a worker", "Messages that were handed out and are not settled.", "short",
          (f'holdfast_queue_messages{{state="unacked", {QUEUE}}}', "{{queue_name}}")),
    graph("Age of the oldest message", "It waits, or is with a worker.", "s",
          (f"holdfast_queue_oldest_message_age_seconds{{{QUEUE}}}", "{{queue_name}}"),
          limit=60, runbook="HoldfastMessagesOld"),
    graph("Consumers", "Worker processes that take from a queue; none while it is paused.",
          "short", (f"holdfast_queue_consumers{{{QUEUE}}}", "{{queue_name}}"),
          runbook="HoldfastNoWorker"),
    graph("Paused by an operator", "1: paused.", "short",
          (f"holdfast_queue_paused{{{QUEUE}}}", "{{queue_name}}"), runbook="HoldfastQueuePaused"),
]  # fmt: skip

MESSAGES = [
    graph("Messages processed", "Well or not.", "ops",
          (_rate("dramatiq_messages_total"), "{{actor_name}}"), stacked=True),
    graph("Attempts that fail", "Each is tried again, or becomes a failure.", "ops",
          (_rate("dramatiq_message_errors_total"), "{{actor_name}}"),
          runbook="HoldfastAttemptsFail"),
    graph("Tried again, given up, limited",
          "Whole or split; now a failure; put off by a rate or concurrency limit.", "ops",
          (_rate("dramatiq_message_retries_total"), "{{actor_name}} again"),
          (_rate("dramatiq_message_rejects_total"), "{{actor_name}} given up"),
          (_rate("holdfast_messages_limited_total"), "{{actor_name}} limited"),
          runbook="HoldfastFailuresOpen"),
    graph("Time that a message waits, 99 of a hundred", "Before its run. More workers help.", "s",
          (_quantile(0.99, "holdfast_message_wait_seconds"), "{{actor_name}}"),
          runbook="HoldfastMessagesOld"),
    graph("Time that a message runs", "Mostly PostgreSQL's.", "ms",
          (_quantile(0.5, "dramatiq_message_duration_milliseconds"), "{{actor_name}} p50"),
          (_quantile(0.99, "dramatiq_message_duration_milliseconds"), "{{actor_name}} p99")),
    graph("Commands in a transaction", "Grows with load by itself.", "short",
          (f"{_rate('holdfast_batch_commands_sum', 'actor', OWN)} / "
           f"{_rate('holdfast_batch_commands_count', 'actor', OWN)}", "{{actor}}")),
    graph("Transactions done again", "Others had taken the stock that they were decided by.", "ops",
          (_rate("holdfast_transactions_redone_total", "actor", OWN), "{{actor}}"),
          runbook="HoldfastTransactionsRedone"),
    graph("From acceptance to commit, 99 of a hundred", "A command's whole way.", "s",
          (_quantile(0.99, "holdfast_decision_seconds", "actor", OWN), "{{actor}}"),
          runbook="HoldfastDecisionBudget"),
    graph("Failures open", "Failed for good, and nobody has settled them.", "short",
          (f"holdfast_failures_open{{{OWN}}}", "{{actor}}"), runbook="HoldfastFailuresOpen"),
    graph("Run now", "Messages at work, and delayed ones that workers hold.", "short",
          (f"sum by (actor_name) (dramatiq_messages_inprogress{{{ACTOR}}})", "{{actor_name}}"),
          (f"sum(dramatiq_delayed_messages_inprogress{{{ACTOR}}})", "delayed")),
]  # fmt: skip

WORKERS = [
    graph("Threads", "Of each group of worker processes.", "short",
          ("sum by (instance) (holdfast_worker_threads)", "{{instance}}"),
          ("sum by (instance) (holdfast_worker_threads_busy)", "{{instance}} at work"),
          runbook="HoldfastWorkersBusy"),
    graph("Processes", "Of each group.", "short",
          ("sum by (instance) (holdfast_worker_processes)", "{{instance}}"),
          runbook="HoldfastWorkerMissing"),
    graph("Memory", "Resident, of each group.", "bytes",
          ("sum by (instance) (holdfast_worker_resident_memory_bytes)", "{{instance}}")),
]  # fmt: skip

BOARD = board(
    "holdfast-actors",
    "actors and queues",
    "What the workers do, and what waits for them.",
    [choice("actor", "Actor", "label_values(dramatiq_messages_inprogress, actor_name)"),
     choice("queue", "Queue", "label_values(holdfast_queue_messages, queue_name)")],
    [("Now", NOW), ("Queues", QUEUES), ("Messages", MESSAGES), ("Workers", WORKERS)],
)  # fmt: skip
