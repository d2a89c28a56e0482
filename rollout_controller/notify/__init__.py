"""News for people outside of the cluster: Slack, a webhook, Alertmanager, Grafana. Never in the way of traffic."""
