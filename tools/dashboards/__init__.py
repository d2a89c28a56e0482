"""The Grafana dashboards, made with Grafana's own SDK: `python -m tools.dashboards --write`."""
