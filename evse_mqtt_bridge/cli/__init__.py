"""The command line.

Each command has a module of its own here, which declares its options and its help text and imports nothing heavy. The
work is done by the module of the same name in `actions`, which the command imports when it runs: `--help`, `--version`
and `health` stay fast. `common` holds what several commands share.
"""
