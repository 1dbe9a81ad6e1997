"""The only home of hand-written SQL: set-based, the statement text constant at any batch size."""
