"""Makes what is checked in but written by nobody: dashboards and alerts."""
