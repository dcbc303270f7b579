"""Values and rules of the field: stations, plugs, statuses, availability. Pure."""
