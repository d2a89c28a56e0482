"""The sentences that people read, the same everywhere."""
