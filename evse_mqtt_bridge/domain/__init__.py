"""Stations, plugs, statuses and availability: values and pure functions."""
