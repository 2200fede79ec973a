"""Protocol 1: configmanager's."""
