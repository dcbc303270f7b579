"""The components of the running bridge. Each owns its tasks and its resources, and has the same few methods."""
