"""
The bytes between a go-plugin host and its plugin, below gRPC: certificates, TLS, yamux, and what carries them.

Used by both ends, `injector.backends.goplugin` and `injector.sdk`, and by nobody else. Knows no gRPC, no settings and
no processes; imports the standard library and, late, `cryptography`.
"""
