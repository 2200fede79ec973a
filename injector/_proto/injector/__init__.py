"""Protocols of our own."""
