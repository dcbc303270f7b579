"""The running process: composition, reload, the service manager."""
