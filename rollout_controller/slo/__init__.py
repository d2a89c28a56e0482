"""SLI sources as data, their PromQL, and the reader that keeps counts fresh."""
