"""Are clients served, and are their orders decided in time?"""

from deploy.grafana.panels import alerts, board, choice, figure, graph

WEB = 'instance=~"$instance"'
CHANGES = 'method!~"GET|HEAD|OPTIONS", route=~"/v1/.+"'
ORDERS = 'actor="place_orders"'

OBJECTIVES = [
    figure(
        "Changes answered, last hour",
        "Changes that got an answer other than 5xx. Objective: 99.9 %.",
        "percentunit",
        ("1 - holdfast_changes_failed:ratio_rate1h", ""),
        (0.9995, 0.999), low_is_bad=True, runbook="HoldfastAcceptBudget",
    ),
    figure(
        "Orders decided within 5 s, last hour",
        "From acceptance to commit. Objective: 99 %.",
        "percentunit",
        ("1 - holdfast_orders_late:ratio_rate1h", ""),
        (0.995, 0.99), low_is_bad=True, runbook="HoldfastDecisionBudget",
    ),
    figure(
        "Workers",
        "Worker processes that reported within 15 s.",
        "short",
        ("max(holdfast_workers)", ""),
        (None, 1), low_is_bad=True, runbook="HoldfastNoWorker",
    ),
    alerts(),
    graph(
        "How fast the budget of answers burns",
        "1: just as fast as the objective allows. Somebody is woken at 14.4 (1 h and 5 min) and at "
        "6 (6 h and 30 min).",
        "short",
        ("holdfast_changes_failed:ratio_rate5m / 0.001", "5 min"),
        ("holdfast_changes_failed:ratio_rate1h / 0.001", "1 h"),
        ("holdfast_changes_failed:ratio_rate6h / 0.001", "6 h"),
        limit=14.4, runbook="HoldfastAcceptBudget",
    ).span(12),
    graph(
        "How fast the budget of decisions burns",
        "1: just as fast as the objective allows. Somebody is woken at 14.4 (1 h and 5 min) and at "
        "6 (6 h and 30 min).",
        "short",
        ("holdfast_orders_late:ratio_rate5m / 0.01", "5 min"),
        ("holdfast_orders_late:ratio_rate1h / 0.01", "1 h"),
        ("holdfast_orders_late:ratio_rate6h / 0.01", "6 h"),
        limit=14.4, runbook="HoldfastDecisionBudget",
    ).span(12),
]  # fmt: skip

ORDERS_ROW = [
    graph(
        "Commands accepted",
        "What RabbitMQ has confirmed, and the client has its 202 for.",
        "ops",
        (f"sum by (kind) (rate(holdfast_commands_accepted_total{{{WEB}}}[$__rate_interval]))",
         "{{kind}}"),
        stacked=True,
    ),
    graph(
        "Commands decided",
        "What workers have committed. Rejected is an outcome, not an error: out of stock, say.",
        "ops",
        ("sum by (outcome) (rate(holdfast_commands_decided_total[$__rate_interval]))",
         "{{outcome}}"),
        stacked=True,
    ),
    graph(
        "An order's way, from acceptance to commit",
        "Half, 95 and 99 of a hundred orders take no longer.",
        "s",
        *((f"histogram_quantile({share}, sum by (le) "
           f"(rate(holdfast_decision_seconds_bucket{{{ORDERS}}}[$__rate_interval])))", name)
          for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))),
        limit=5, runbook="HoldfastDecisionBudget",
    ),
]  # fmt: skip

FRONT_DOOR = [
    graph(
        "Requests by status",
        "503 is a change that RabbitMQ could not take, or an order that was shed.",
        "reqps",
        (f"sum by (status) (rate(holdfast_http_requests_total{{{WEB}}}[$__rate_interval]))",
         "{{status}}"),
        stacked=True, runbook="HoldfastAcceptBudget",
    ),
    graph(
        "Time to the answer, 99 of a hundred, by route",
        "With `Prefer: wait` this is the time to the decision.",
        "s",
        ("histogram_quantile(0.99, sum by (route, le) (rate("
         f"holdfast_http_request_duration_seconds_bucket{{{WEB}}}[$__rate_interval])))",
         "{{route}}"),
    ),
    graph(
        "Time of RabbitMQ to confirm",
        "From publishing a message to its confirm.",
        "s",
        *((f"histogram_quantile({share}, sum by (le) "
           f"(rate(holdfast_publish_seconds_bucket{{{WEB}}}[$__rate_interval])))", name)
          for share, name in ((0.5, "p50"), (0.99, "p99"))),
        runbook="HoldfastPublishFails",
    ),
    graph(
        "Commands in a message",
        "Batches grow with load by themselves; that is what makes it fast.",
        "short",
        (f"sum(rate(holdfast_publish_batch_commands_sum{{{WEB}}}[$__rate_interval])) / "
         f"sum(rate(holdfast_publish_batch_commands_count{{{WEB}}}[$__rate_interval]))", "mean"),
    ),
    graph(
        "Refused by us",
        "Messages that RabbitMQ did not confirm, and requests with new orders that were shed.",
        "ops",
        (f"sum(rate(holdfast_publish_failures_total{{{WEB}}}[$__rate_interval]))",
         "not confirmed"),
        (f"sum(rate(holdfast_orders_shed_total{{{WEB}}}[$__rate_interval]))", "shed"),
        runbook="HoldfastPublishFails",
    ),
    graph(
        "Under way",
        "Requests that are not answered yet, and pages of the dashboard that are watched live.",
        "short",
        (f"sum by (instance) (holdfast_http_requests_in_flight{{{WEB}}})", "requests {{instance}}"),
        (f"sum(holdfast_sse_viewers{{{WEB}}})", "viewers"),
    ),
    graph(
        "Changes that failed, by route",
        "Share of 5xx among the changes that clients asked for, in 5 minutes.",
        "percentunit",
        (f'sum by (route) (rate(holdfast_http_requests_total{{status=~"5..", {CHANGES}, {WEB}}}'
         f"[5m])) / sum by (route) (rate(holdfast_http_requests_total{{{CHANGES}, {WEB}}}[5m]) > 0)"
         " or vector(0)", "{{route}}"),
        runbook="HoldfastAcceptBudget",
    ),
    graph(
        "Attempts to sign in to the dashboard",
        "By what came of them.",
        "ops",
        (f"sum by (outcome) (rate(holdfast_sign_ins_total{{{WEB}}}[$__rate_interval]))"
         " or vector(0)", "{{outcome}}"),
        runbook="HoldfastSignInsRefused",
    ),
    graph(
        "Targets that can't be read",
        "By Prometheus.",
        "short",
        ("count by (job) (up == 0) or vector(0)", "{{job}}"),
        limit=1, runbook="TargetDown",
    ),
]  # fmt: skip

BOARD = board(
    "holdfast-service",
    "service",
    "Are clients served, and are their orders decided in time?",
    [choice("instance", "Front door", "label_values(holdfast_http_requests_in_flight, instance)")],
    [("Objectives", OBJECTIVES), ("Orders", ORDERS_ROW), ("Front door", FRONT_DOOR)],
)
