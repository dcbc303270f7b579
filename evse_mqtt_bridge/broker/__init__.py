"""The MQTT side: what waits to be said, and the one connection that says it."""
