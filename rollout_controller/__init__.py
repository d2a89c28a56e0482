"""Progressive delivery of Triton model versions behind Istio or Envoy."""
