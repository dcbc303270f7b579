"""The script that a user would write: polls each station in turn, and publishes every field of the response.

It runs as a process until it gets a signal: `python -m benchmarks.plain_loop --cloud URL --ca FILE --broker PORT
--stations N`. With `--rate` it makes that many polls per second, otherwise as many as it can.
"""

import argparse
import itertools
import time

import requests
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.cloud import uuid_of


def main() -> None:
    """Run until the process gets a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cloud", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--broker", type=int, required=True)
    parser.add_argument("--stations", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0)
    options = parser.parse_args()

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", options.broker)
    client.loop_start()
    session = requests.Session()
    session.trust_env = False  # a third of each request's time would go into reading proxies from the environment
    session.verify = options.ca
    began = time.monotonic()
    for number in itertools.count():
        uuid = uuid_of(number % options.stations)
        address = f"{options.cloud}/edgedevices/edge/evses/{uuid}/status"
        answer = session.get(address, headers={"evsetoken": "token"}, timeout=10)
        for plug in answer.json():
            for name, value in plug.items():
                client.publish(f"evse/{plug['evse_uuid']}/{plug['plug_uuid']}/{name}", value, retain=True)
        if options.rate:
            time.sleep(max(0.0, began + (number + 1) / options.rate - time.monotonic()))


if __name__ == "__main__":
    main()
