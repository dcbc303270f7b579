"""Divides the shards between the members of a fleet: the port to the engine, its adapters, and the decisions."""
