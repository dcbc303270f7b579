"""A soak test (`make soak`): causes random faults, and after each one checks the topics that the broker retains.

- model: the stations, what the bridge published for them, and the expected topics. Pure.
- station_faults: the faulty responses of the cloud.
- cloud: a server that sends each station's response or its fault.
- changes: other values of stations and other configurations, chosen at random.
- faults: faults of the broker and of the network.
- strangers: faults that other clients of the broker cause.
- shortages: of descriptors, readers of the log, and connections of the status page.
- restarts: restarts of the bridge in difficult states.
- kinds: all of these by name, and a random choice among those that a run causes.
- environment: cloud, broker, proxies and bridge.
- run: causes faults, waits until the retained topics are right, and counts the differences.
"""
