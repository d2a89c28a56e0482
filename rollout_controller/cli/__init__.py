"""The command line: fetch, make an Info (pure), render."""
