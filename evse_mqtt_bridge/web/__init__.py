"""The status page, its API and metrics over HTTP."""
