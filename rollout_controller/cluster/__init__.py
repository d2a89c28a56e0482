"""Where the documents live: the ObjectStore protocol and its implementations."""
