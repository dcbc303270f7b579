"""A soak test: random faults, and after each the check that the broker retains what it must: `make soak`.

- model: what the stations are, what was published about them, and so what must be retained. Pure.
- station_faults: what the cloud can answer instead of a valid answer.
- cloud: a server that sends each station's answer or its fault.
- changes: other values of stations and other configurations, chosen at random.
- faults: faults of the broker and of the network, chosen at random.
- environment: cloud, broker, proxies and bridge.
- run: causes faults, waits until the retained topics are right, and counts the differences.
"""
