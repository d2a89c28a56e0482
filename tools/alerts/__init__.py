"""Alerts and recording rules: `python -m tools.alerts --write`."""
