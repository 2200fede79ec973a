"""Protocol 2."""
