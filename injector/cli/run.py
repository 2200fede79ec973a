"""`injector run`."""
