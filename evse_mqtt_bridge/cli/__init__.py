"""The command line.

Each command has its own module here, which declares its options and its help text and imports nothing heavy. The module
of the same name in `actions` does the work. The command imports it when it runs, so that `--help`, `--version` and
`health` stay fast. `common` contains the modules that several commands share.
"""
