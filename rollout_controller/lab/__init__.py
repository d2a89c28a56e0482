"""Real Envoy, Triton and Prometheus on one machine, without root: for the demo, the tests, and two boxes at home."""
