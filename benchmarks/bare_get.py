"""The minimum cost of polling: the same requests with the bridge's own HTTP client, or another one, and nothing else.

A script that runs as a process until it gets a signal.
"""

import argparse
import asyncio
import itertools
from typing import NoReturn

from benchmarks.http_clients import CLIENTS, Where


async def send_requests(client: str, where: Where) -> None:
    """Request all stations over and over, with as many concurrent requests as connections, until cancelled."""
    get = await CLIENTS[client](where)
    await get(0)  # reports a failure once, not once per worker
    numbers = itertools.cycle(range(where.stations))

    async def work() -> NoReturn:
        while True:
            await get(next(numbers))

    await asyncio.gather(*(work() for _ in range(where.connections)))


def main() -> None:
    """Run until the process gets a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cloud", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--stations", type=int, required=True)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--client", choices=CLIENTS, default="bridge")
    options = parser.parse_args()
    where = Where(options.cloud, options.ca, options.stations, options.connections)
    asyncio.run(send_requests(options.client, where))


if __name__ == "__main__":
    main()
