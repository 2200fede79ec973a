"""Messages of the gRPC health service."""
