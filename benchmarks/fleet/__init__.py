"""Measures a fleet whose shards etcd assigns: take-overs, and random failures in a row."""
