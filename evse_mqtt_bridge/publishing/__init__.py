"""Decides which messages are published, and in which order. Pure."""
