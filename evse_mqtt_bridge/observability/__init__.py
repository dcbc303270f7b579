"""Observes the running bridge: log, counters, history, health, metrics, snapshot."""
