"""Stock, what becomes of the commands on it, and whether the books agree."""

from deploy.grafana.panels import board, figure, graph


def _decided(actor: str) -> str:
    return (
        "sum by (outcome) (rate(holdfast_commands_decided_total"
        f'{{actor="{actor}"}}[$__rate_interval]))'
    )


NOW = [
    figure("SKUs that run low", "Fewer units available than LOW_STOCK_BELOW; by the minute.",
           "short", ("max(holdfast_stock_below_threshold)", ""), (1, 50)),
    figure("Differences in the books", "Anything but 0 is a bug, or somebody's hand in the "
           "database.", "short", ("sum(holdfast_reconciliation_differences)", ""),
           (None, 1), runbook="HoldfastBooksDiffer"),
    figure("Books last checked", "Every RECONCILE_EVERY_S.", "s",
           ("time() - max(holdfast_reconciliation_last_run_timestamp_seconds)", ""),
           (5400, 10800), runbook="HoldfastBooksUnchecked"),
    figure("Books last found to agree", "All checks without a difference.", "s",
           ("time() - max(holdfast_reconciliation_last_success_timestamp_seconds)", ""),
           (5400, 10800), runbook="HoldfastBooksDiffer"),
    figure("Orders rejected", "Of all decided in 5 minutes: out of stock, unknown SKU.",
           "percentunit",
           ('actor:holdfast_commands_rejected:ratio_rate5m{actor="place_orders"}', ""),
           (0.2, 0.5)),
    figure("Clock", "1: a clock works.", "short", ("sum(holdfast_clock_active)", ""),
           (None, 1), low_is_bad=True, runbook="HoldfastClockSilent"),
]  # fmt: skip

COMMANDS = [
    graph("Orders", "Applied is confirmed; rejected has its reason on record.", "ops",
          (_decided("place_orders"), "{{outcome}}"), stacked=True),
    graph("Moves of orders", "Shipped, cancelled, returned.", "ops",
          (_decided("move_orders"), "{{outcome}}"), stacked=True),
    graph("Stock adjustments", "Received, counted, damaged.", "ops",
          (_decided("adjust_stock"), "{{outcome}}"), stacked=True),
    graph("Products", "Made and changed.", "ops",
          (_decided("put_products"), "{{outcome}}"), stacked=True),
    graph("SKUs that run low", "Fewer units available than LOW_STOCK_BELOW.", "short",
          ("max(holdfast_stock_below_threshold)", "SKUs")),
    graph("Orders rejected", "Of all decided in 5 minutes.", "percentunit",
          ('actor:holdfast_commands_rejected:ratio_rate5m{actor="place_orders"}', "rejected")),
]  # fmt: skip

BOOKS = [
    graph("Differences by check", "As last looked up; docs/operating.md says what each holds.",
          "short", ("holdfast_reconciliation_differences", "{{check}}"),
          limit=1, runbook="HoldfastBooksDiffer"),
    graph("Time that a check of the books takes", "It is given up after 10 minutes.", "s",
          ("max(holdfast_reconciliation_duration_seconds)", "all checks"),
          limit=600, runbook="HoldfastBooksUnchecked"),
    graph("Jobs of the clock that went wrong", "They are tried again.", "short",
          ("sum by (exported_job) (increase(holdfast_clock_job_failures_total[1h]))",
           "{{exported_job}}"),
          runbook="HoldfastClockJobFails"),
]  # fmt: skip

BOARD = board(
    "holdfast-inventory",
    "inventory",
    "Stock, what becomes of the commands on it, and whether the books agree.",
    [],
    [("Now", NOW), ("Commands decided", COMMANDS), ("Books", BOOKS)],
)
