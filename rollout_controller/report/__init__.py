"""PURE: what happened, as one HTML page and one SVG picture. Plain data in, text out; nothing here knows a lab or a cluster."""
