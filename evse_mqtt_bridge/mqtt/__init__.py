"""The MQTT client: connections, the session that reconnects, and the one-shot client."""
