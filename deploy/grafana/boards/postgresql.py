"""PostgreSQL, as postgres_exporter tells of it by default."""

from deploy.grafana.panels import board, choice, figure, graph

SERVER = 'instance=~"$instance"'
DATABASE = f'datname=~"$database", {SERVER}'


def _rate(metric: str) -> str:
    return f"sum by (datname) (rate(pg_stat_database_{metric}{{{DATABASE}}}[$__rate_interval]))"


NOW = [
    figure("Servers up", "That the exporters can connect to.", "short",
           (f"sum(pg_up{{{SERVER}}})", ""), (None, 1), low_is_bad=True, runbook="PostgresDown"),
    figure("Connections used", "Of max_connections.", "percentunit",
           (f"max(sum by (instance) (pg_stat_activity_count{{{SERVER}}}) / "
            f"sum by (instance) (pg_settings_max_connections{{{SERVER}}}))", ""),
           (0.6, 0.8), runbook="PostgresConnectionsNearlyFull"),
    figure("Oldest transaction", "Nothing that died since can be cleaned up.", "s",
           (f"max(pg_stat_activity_max_tx_duration{{{DATABASE}}})", ""),
           (600, 900), runbook="PostgresLongTransaction"),
    figure("Replicas", "That read from a primary.", "short",
           (f"count(pg_stat_replication_pg_wal_lsn_diff{{{SERVER}}}) or vector(0)", ""),
           runbook="PostgresReplicaMissing"),
    figure("Furthest behind", "What a replica has yet to replay.", "bytes",
           (f"max(pg_stat_replication_pg_wal_lsn_diff{{{SERVER}}}) or vector(0)", ""),
           (64 * 2**20, 256 * 2**20), runbook="PostgresReplicaLags"),
    figure("Size", "Of the databases chosen.", "bytes",
           (f"sum(pg_database_size_bytes{{{DATABASE}}})", ""), runbook="DiskNearlyFull"),
]  # fmt: skip

WORK = [
    graph("Transactions", "Committed, and rolled back: a read that ends counts as either.", "ops",
          (_rate("xact_commit"), "{{datname}} committed"),
          (_rate("xact_rollback"), "{{datname}} rolled back")),
    graph("Rows written", "An order of two lines writes some ten.", "ops",
          (_rate("tup_inserted"), "{{datname}} inserted"),
          (_rate("tup_updated"), "{{datname}} updated"),
          (_rate("tup_deleted"), "{{datname}} deleted")),
    graph("Rows read", "Returned by scans, and fetched by index.", "ops",
          (_rate("tup_returned"), "{{datname}} returned"),
          (_rate("tup_fetched"), "{{datname}} fetched")),
    graph("Found in memory", "Blocks that were in shared_buffers.", "percentunit",
          (f"{_rate('blks_hit')} / ({_rate('blks_hit')} + {_rate('blks_read')})",
           "{{datname}}")),
    graph("Deadlocks", "Ours take locks in one order: any is worth a look.", "ops",
          (_rate("deadlocks"), "{{datname}}"), runbook="HoldfastAttemptsFail"),
    graph("Temporary files", "Sorts and hashes that work_mem was too small for.", "Bps",
          (_rate("temp_bytes"), "{{datname}}")),
]  # fmt: skip

SESSIONS = [
    graph("Connections", "By what they do.", "short",
          (f"sum by (state) (pg_stat_activity_count{{{DATABASE}}})", "{{state}}"),
          stacked=True, runbook="PostgresConnectionsNearlyFull"),
    graph("Longest transaction", "By what its connection does.", "s",
          (f"max by (state) (pg_stat_activity_max_tx_duration{{{DATABASE}}})", "{{state}}"),
          limit=900, runbook="PostgresLongTransaction"),
    graph("Locks", "Held and waited for, by mode.", "short",
          (f"sum by (mode) (pg_locks_count{{{DATABASE}}})", "{{mode}}")),
]  # fmt: skip

SPACE = [
    graph("Size", "Of each database.", "bytes",
          (f"sum by (datname) (pg_database_size_bytes{{{DATABASE}}})", "{{datname}}"),
          runbook="DiskNearlyFull"),
    graph("Replicas behind", "Bytes that each has yet to replay.", "bytes",
          (f"max by (application_name) (pg_stat_replication_pg_wal_lsn_diff{{{SERVER}}})",
           "{{application_name}}"),
          limit=256 * 2**20, runbook="PostgresReplicaLags"),
    graph("WAL archiving that failed", "Where archive_mode is on.", "short",
          (f"sum by (instance) (increase(pg_stat_archiver_failed_count{{{SERVER}}}[1h]))",
           "{{instance}}")),
]  # fmt: skip

BOARD = board(
    "holdfast-postgresql",
    "PostgreSQL",
    "PostgreSQL, as postgres_exporter tells of it by default.",
    [choice("instance", "Server", "label_values(pg_up, instance)"),
     choice("database", "Database", "label_values(pg_database_size_bytes, datname)")],
    [("Now", NOW), ("Work", WORK), ("Sessions", SESSIONS), ("Space and replicas", SPACE)],
)  # fmt: skip
