"""The minimum cost of publishing: prepared messages sent over the bridge's own MQTT connection.

A script that runs as a process until it gets a signal.
"""

import argparse
import asyncio
import itertools

from benchmarks.cloud import plugs_of, uuid_of
from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions, Handlers
from evse_mqtt_bridge.mqtt.connection import connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.errors import UnavailableError

_TOPICS = 10_000


async def publish(port: int, qos: int) -> None:
    """Publish as fast as the broker accepts messages, until the connection ends."""
    uuids = map(uuid_of, range(_TOPICS))
    messages = itertools.cycle([Message(f"evse/{uuid}/{plugs_of(uuid)[1]}/power", b"7107.25") for uuid in uuids])
    connection = None

    def pump() -> None:
        while connection is not None and connection.has_room:
            connection.publish(next(messages))

    handlers = Handlers(lambda *_: None, lambda *_: None, pump)
    result = await connect(ConnectOptions(Mqtt(host="127.0.0.1", port=port, qos=qos, client_id="bare")), handlers)
    if isinstance(result, Disconnected):
        raise UnavailableError(result.detail)
    connection = result
    pump()
    await connection.keep_alive()


def main() -> None:
    """Run until the process gets a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", type=int, required=True)
    parser.add_argument("--qos", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(publish(options.broker, options.qos))


if __name__ == "__main__":
    main()
