"""Between a host and its plugins."""
