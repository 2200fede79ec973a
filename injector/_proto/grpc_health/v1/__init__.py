"""Version 1, as in grpcio-health-checking."""
