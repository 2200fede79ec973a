"""
The host of HashiCorp go-plugin programs: starts one, shakes hands, asks it over gRPC, and ends it.

Belongs here: go-plugin's protocol as a host sees it, and both protocols of the token store. Does not belong here: where
plugins are found (`backends.discovery`), retries, and how a child process is spawned (`process`). gRPC is imported by
`transport` alone. Entry point: `start.start_plugin`.
"""
