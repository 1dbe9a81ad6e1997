"""The truth: tables, set-based queries, migrations, and the pure rules."""
