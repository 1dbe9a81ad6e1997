"""Grafana's dashboards, written as code: `python -m deploy.grafana.build` makes their JSON."""
