"""Discovery for Home Assistant: one message per entity or per device, and the migration between the two forms.

Sources of the rules: Home Assistant's MQTT integration (schemas.py, discovery.py, entity.py, sensor.py), tested with
2026.11.0, and openHAB's copy of its 2025.4 schemas.

- `entities`: the entities of a bridge, a station and a plug.
- `discovery`: the messages for them, and the topics of these messages.
- `migration`: changes the form; entities, ids and history are kept.
- `location`: where discovery is published, as the manifest records it.
- `output`: the output itself.
"""
