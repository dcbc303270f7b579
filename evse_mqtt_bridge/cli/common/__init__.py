"""Modules that several commands share: options, prompts, tables, rendering, and the client of the status page."""
