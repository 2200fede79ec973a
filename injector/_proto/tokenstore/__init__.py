"""Messages between a host and a store of tokens."""
