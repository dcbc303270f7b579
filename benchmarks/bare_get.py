"""The floor of polling: the same requests through the bridge's own HTTP client, or another one, answers thrown away.

A script, run as a process; it ends by a signal.
"""

import argparse
import asyncio
import itertools
from typing import NoReturn

from benchmarks.http_clients import CLIENTS, Where


async def ask(client: str, where: Where) -> None:
    """Ask the stations one after the other, with as many requests at once as there are connections, until cancelled."""
    get = await CLIENTS[client](where)
    await get(0)  # a failure is told once, and not by every worker
    turns = itertools.cycle(range(where.stations))

    async def work() -> NoReturn:
        while True:
            await get(next(turns))

    await asyncio.gather(*(work() for _ in range(where.connections)))


def main() -> None:
    """Run until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cloud", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--stations", type=int, required=True)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--client", choices=CLIENTS, default="bridge")
    options = parser.parse_args()
    asking = ask(options.client, Where(options.cloud, options.ca, options.stations, options.connections))
    asyncio.run(asking)


if __name__ == "__main__":
    main()
