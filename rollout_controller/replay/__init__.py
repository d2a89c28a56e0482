"""Attempts played on a virtual clock: the product's own `decide` in a made world."""
