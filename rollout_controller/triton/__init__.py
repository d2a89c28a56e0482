"""Client of Triton's model repository and health API."""
