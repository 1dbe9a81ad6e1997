"""`make bench`: Holdfast and its peers, side by side on this machine. See docs/benchmarks.md."""
