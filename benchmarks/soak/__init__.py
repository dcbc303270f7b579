"""A soak test (`make soak`): causes random faults, and after each one checks the topics that the broker retains.

- model: the stations, what the bridge published for them, and the expected topics. Pure.
- station_faults: the faulty responses of the cloud.
- cloud: a server that sends each station's response or its fault.
- changes: other values of stations and other configurations, chosen at random.
- faults: faults of the broker and of the network, chosen at random.
- environment: cloud, broker, proxies and bridge.
- run: causes faults, waits until the retained topics are right, and counts the differences.
"""
