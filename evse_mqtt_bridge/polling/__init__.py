"""Polling of stations: the schedule and the poller."""
