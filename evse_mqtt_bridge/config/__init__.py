"""The configuration: schema, loading, editing."""
