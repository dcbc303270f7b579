"""The running process: supervisor, components, reload, notifications to the service manager."""
