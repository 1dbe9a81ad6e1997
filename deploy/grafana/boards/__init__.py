"""One dashboard a module. `$__rate_interval` is Grafana's: four scrapes, more when zoomed out."""
