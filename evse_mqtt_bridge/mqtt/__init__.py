"""The MQTT client: connections, the session that keeps one, and the one-shot client."""
