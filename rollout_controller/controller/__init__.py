"""The shell: reads, asks `decide`, applies."""
