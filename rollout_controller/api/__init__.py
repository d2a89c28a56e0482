"""The documents people write and read: TritonRollout, RolloutPolicy, their status and their quantities."""
