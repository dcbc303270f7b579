"""The configuration: schema, loading, validation and editing."""
