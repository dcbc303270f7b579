"""The table of all log lines: a stable id, a level, a text and a meaning per kind of line."""

from enum import Enum

from evse_mqtt_bridge.observability.log import LEVELS, Level, Logger

__all__ = ["LogEvent", "log_event"]


class LogEvent(Enum):
    """A kind of log line. Filters use its id, so the id never changes; its text may.

    Attributes:
        level: The severity.
        text: The message of the line. Details go into fields.
        meaning: The cause and what to do, as Markdown for docs/operations.md.
    """

    # The process
    BRIDGE_STARTED = (
        "info",
        "evse-mqtt-bridge started",
        "The bridge is running. `version`, and the number of `stations` in the configuration.",
    )
    BRIDGE_STOPPING = ("info", "stopping", "The bridge received a signal to stop. It publishes `offline` first.")
    BRIDGE_STOPPED = ("info", "stopped", "The bridge has stopped; the process exits.")
    LOG_LINES_DROPPED = (
        "warning",
        "log lines dropped, because stderr could not be written",
        (
            "The program that reads the log paused, or the disk was full: `lines` were lost. Polling and publishing "
            "were not affected. Check the log collector, and the terminal (Ctrl-S pauses it, Ctrl-Q resumes)."
        ),
    )
    FEW_FILE_DESCRIPTORS = (
        "warning",
        "few file descriptors, limiting requests and connections to the status page",
        (
            "The process may open only `limit` files and connections. So at most `requests` requests to the cloud run "
            "at the same time, and the status page accepts `page_connections` connections. Raise the hard limit: "
            "`LimitNOFILE=` in the systemd unit, `--ulimit nofile=` of Docker, or `ulimit -n`."
        ),
    )
    EVENT_LOOP_ERROR = (
        "error",
        "error in the event loop",
        (
            "Usually an error of the operating system, such as too many open files; see `detail`. "
            "At most six lines per minute."
        ),
    )

    CLOCK_CHANGED = (
        "info",
        "the clock of the machine was set",
        (
            "`change` is the difference to the time before. Start time, uptime and the times on the status page are "
            "corrected; log lines before keep their times. Measurements may be `stale` until the clock is right."
        ),
    )

    # The configuration
    CONFIGURATION_WARNING = (
        "warning",
        "configuration warning",
        "The configuration is valid, but `detail` describes something that is probably not intended.",
    )
    HTTP_LIBRARY_SLOW = (
        "info",
        "libcurl cannot be used, requests to the cloud take several times the CPU",
        (
            "Logged once at the start. httpx replaces libcurl; it is sufficient for 200 polls per second. "
            "For more, see `detail` and [choose the HTTP library](configuration.md#choose-the-http-library)."
        ),
    )
    CONFIGURATION_APPLIED = (
        "info",
        "configuration reloaded",
        (
            "The bridge read the configuration again and applied its changes; it now has `stations` stations, of which "
            "`added` are new and `changed` have other settings; `removed` are no longer configured."
        ),
    )
    CONFIGURATION_REJECTED = (
        "error",
        "reload failed, keeping the current configuration",
        "The changed configuration is invalid. One line per `problem`: correct it and reload again.",
    )

    SECRET_REPLACED = (
        "info",
        "secret replaced",
        (
            "The token or password was rejected, and its file contains another one by now, which the bridge uses. "
            "`setting` names the file."
        ),
    )
    SECRET_UNREADABLE = (
        "warning",
        "secret cannot be read again",
        "A token or password was rejected, and its file cannot be read; see `detail`. The bridge keeps the former one.",
    )

    # The history
    HISTORY_FAILED = (
        "warning",
        "history cannot be written, retrying",
        (
            "The database of `[history]` failed; see `detail`. Polling and publishing are not affected. Sessions and "
            "energy wait in memory, and are written as soon as the database works. With `set_aside`, the file was "
            "damaged and has this name now, and a new one takes its place."
        ),
    )
    HISTORY_RESTORED = ("info", "history is written again", "The records that waited are written.")
    COUNTERS_START_AT_ZERO = (
        "info",
        "energy counters start at 0",
        (
            "Neither the broker nor the history has counts for `plugs` plugs, the first of which is at `station`. This "
            "is normal for new plugs. Otherwise, a new cycle begins: the broker lost its messages, and the bridge has "
            "no history, or its database did not answer for ten minutes."
        ),
    )

    # The status page
    STATUS_PAGE_AVAILABLE = ("info", "status page available", "The status page is served at `address`.")
    STATUS_PAGE_UNAVAILABLE = (
        "warning",
        "status page unavailable, retrying",
        (
            "The bridge cannot listen on `http.port`; polling and publishing are not affected. "
            "Set another `http.port`, or `http.enabled = false`."
        ),
    )
    STATUS_PAGE_STILL_UNAVAILABLE = (
        "debug",
        "status page still unavailable, retrying",
        "Another attempt to listen on `http.port` failed.",
    )
    STATUS_PAGE_REQUEST_FAILED = (
        "error",
        "request to the status page failed",
        "A bug: please report the line with its traceback. At most six lines per minute.",
    )

    # Stations and plugs
    STATION_AVAILABLE = (
        "info",
        "station available",
        (
            "The first response of a station since the bridge started. In a fleet with an engine, the line about the "
            "shard stands for the lines about its stations."
        ),
    )
    STATION_AVAILABLE_AGAIN = (
        "info",
        "station available again",
        "A station answers again; `after` is how long it was unavailable.",
    )
    STATION_UNAVAILABLE = (
        "warning",
        "station unavailable",
        (
            "See `reason` and `detail`. Nothing to do at first: the bridge retries after at most "
            "`polling.max_backoff`, 5 minutes by default, or after the interval of the station if that is longer."
        ),
    )
    STATION_STILL_UNAVAILABLE = (
        "debug",
        "station still unavailable",
        "The `reason` changed during an outage that has already been logged.",
    )
    STATION_REJECTED = (
        "error",
        "station rejected",
        (
            "Check the token (`unauthorized`), or `edge_device_id`, `uuid` and `cloud.status_path` (`not_found`). "
            "The bridge retries after 30 seconds, then after waits that double up to 15 minutes, or up to the interval "
            "of the station if that is longer."
        ),
    )
    POLL_FAILED = (
        "debug",
        "poll failed",
        "One poll failed. Most failures pass before they make a station unavailable.",
    )
    UNUSUAL_ANSWER = (
        "warning",
        "unusual response",
        (
            "A response has a field or status that this version does not know, or an invalid object; see `detail`. "
            "Each is logged once."
        ),
    )
    CLOUD_REJECTING = (
        "warning",
        "the cloud rejects all stations, retrying",
        (
            "No station is answered, and each gets a rejection (HTTP 401, 403, 404 and the like) or a web page; see "
            "`detail`. Probably maintenance, a firewall or a proxy: nothing to do at first. If it lasts, check "
            "`cloud.base_url`, `cloud.status_path`, and whether the tokens are still valid."
        ),
    )
    CLOUD_ANSWERING = (
        "info",
        "the cloud answers again",
        "The end of `cloud_rejecting`; `after` is how long it lasted. The other stations are polled within seconds.",
    )
    CLOUD_RATE_LIMITED = (
        "warning",
        "rate limited by the cloud, pausing all requests",
        (
            "The cloud sent Retry-After with status 429 or 5xx, so the bridge polls no station during `wait`. If this "
            "happens often, raise `polling.interval` or lower `cloud.max_requests_per_second`. Logged at most once in "
            "ten minutes, and once per pause."
        ),
    )
    PLUG_AVAILABLE_AGAIN = (
        "info",
        "plug available again",
        "A plug is available again; `after` is how long it was unavailable.",
    )
    PLUG_UNAVAILABLE = (
        "warning",
        "plug unavailable",
        (
            "The station answers, but not for this plug. `reason` points to the vendor (`offline`, `cloud_offline`) or "
            "to the data (`stale`, `missing`, `invalid_response`)."
        ),
    )
    PLUG_REMOVED = (
        "info",
        "plug removed",
        "The cloud has not listed the plug for a day. The bridge clears its topics.",
    )
    LINES_SUPPRESSED = (
        "warning",
        "log lines suppressed",
        (
            "There were more than 60 lines about stations, plugs and rejected messages within a minute; `lines` of "
            "them were not written. The `availability` topics have the current state."
        ),
    )

    # The broker
    BROKER_CONNECTED = (
        "info",
        "connected to the broker",
        "The bridge republishes everything. `after` is how long it was disconnected.",
    )
    BROKER_RECONNECTED = (
        "debug",
        "connected to the broker again, the last connections did not last",
        "The bridge logs `broker_connected` once the connection has lasted for a minute.",
    )
    BROKER_CONNECTION_LOST = (
        "warning",
        "connection to the broker lost, retrying",
        "Check the broker and the network. The bridge republishes everything when it is connected again.",
    )
    BROKER_UNREACHABLE = (
        "warning",
        "broker unreachable, retrying",
        "Check that the broker runs, and `mqtt.host` and `mqtt.port`.",
    )
    BROKER_TLS_FAILED = (
        "error",
        "TLS connection to the broker failed, retrying",
        "See `detail`: usually an expired certificate, one for another host name, or an unknown CA (`mqtt.tls`).",
    )
    BROKER_LOGIN_REJECTED = (
        "error",
        "broker rejected the login, retrying",
        "Check `mqtt.username` and `mqtt.password`. The bridge retries at growing intervals.",
    )
    BROKER_CONNECTION_REJECTED = (
        "error",
        "broker rejected the connection, retrying",
        "The broker answered, but does not accept the connection; see `detail`.",
    )
    CLIENT_ID_IN_USE = (
        "error",
        "another client uses this client id, retrying",
        "Two bridges run with one `mqtt.client_id`, one bridge runs twice, or two members of a fleet run one shard.",
    )
    BROKER_CONNECTION_UNSTABLE = (
        "error",
        "connections to the broker do not last, retrying",
        (
            "Probably a second client with this `mqtt.client_id`, or in a fleet, a second member with the shard that "
            "`detail` names; else an unreliable network; see [faults](faults.md)."
        ),
    )
    BROKER_STILL_DISCONNECTED = (
        "debug",
        "still no lasting connection to the broker, retrying",
        "Another attempt failed for a reason that has already been logged.",
    )
    OLDER_VERSION_USED = (
        "info",
        "broker does not accept MQTT 5, using an older version",
        (
            "The bridge uses MQTT 3.1.1 from now on. Such a broker cannot report rejected messages; see "
            "[brokers](brokers.md). To avoid the attempt with MQTT 5, set `mqtt.protocol`."
        ),
    )
    PUBLISH_FORBIDDEN = (
        "error",
        "broker closes the connection at some topics, leaving them out",
        (
            "The broker closed two connections at the same topic. The bridge publishes everything but the topics under "
            "`filter`. Check the broker's access rules, then restart the bridge."
        ),
    )
    PUBLISH_REJECTED = (
        "error",
        "broker rejected a message",
        "Check the broker's access rules and its maximum packet size. Logged once per topic.",
    )
    SUBSCRIPTION_REJECTED = (
        "warning",
        "broker rejected a subscription",
        "Check the broker's access rules: see [security](security.md#set-access-rules-on-the-broker).",
    )
    RESTORE_UNCERTAIN = (
        "warning",
        "some topics of a previous run may be unknown",
        (
            "The bridge may not have received all retained `info` topics, so topics of removed stations may stay on "
            "the broker: run `purge`. See `detail`: if the marker did not come back, allow the bridge to publish and "
            "to read `topic`. Logged once per reason."
        ),
    )
    CONSUMER_STARTED = (
        "info",
        "birth message received, republishing everything",
        "Home Assistant or openHAB has started.",
    )
    SAME_STATIONS = (
        "warning",
        "another bridge publishes the same stations",
        (
            "The bridge with this `client_id` and `base_topic` has `stations` stations in common with this one. Both "
            "poll them, and in Home Assistant each plug shows the values of the bridge that published discovery last. "
            "Remove the stations from one of them, or set `homeassistant.enabled = false` there. Logged once a bridge."
        ),
    )
    OTHER_BRIDGE_STOPPED = (
        "info",
        "the other bridge with the same stations is offline, publishing discovery again",
        "In Home Assistant, the plugs show the values of this bridge from now on.",
    )
    TOPICS_DISTURBED = (
        "warning",
        "another client cleared or overwrote topics of the bridge, publishing them again",
        (
            "`topics` is their number, `topic` is one of them, and `detail` what happened to it. MQTT does not name "
            "that client: look for another bridge with this `mqtt.base_topic`, or for a script or a tool that clears "
            "retained messages. The pause before the bridge publishes the topics again grows from 2 s up to 10 min."
        ),
    )
    OFFLINE_NOT_ACKNOWLEDGED = (
        "warning",
        "broker did not acknowledge offline in time",
        "The bridge is stopping. The broker publishes `offline` itself, as the bridge's will.",
    )

    # The fleet
    SHARD_BEGUN = (
        "info",
        "running a shard",
        (
            "This member runs the shard `shard` with `stations` stations from now on. `previous` is the member that "
            "ran it before, if any did since this member started."
        ),
    )
    SHARD_HANDED_OVER = (
        "info",
        "handed over a shard",
        (
            "The member stops, drains, cannot reach the broker or the cloud, or has more shards than others. "
            "`successor` runs the shard `shard` from now on; without it, another member claims the shard within some "
            "seconds."
        ),
    )
    SHARD_LOST = (
        "warning",
        "stopped a shard, because another member runs it",
        (
            "This member did not reach the engine for `fleet.ttl`, or was frozen. It publishes nothing more of the "
            "shard `shard`; `holder` is the other member, if it is known."
        ),
    )
    ENGINE_UNAVAILABLE = (
        "warning",
        "engine of the fleet does not answer, continuing without it",
        (
            "`detail` has the cause. Polling and publishing continue. Until the engine answers, no shard moves, and if "
            "this member is the only one without the engine, the others take over its shards within "
            "about twice `fleet.ttl`."
        ),
    )
    ENGINE_REFUSED = (
        "error",
        "engine of the fleet rejects this member, continuing without it",
        "Check the credentials and rights that `detail` names. The member keeps trying.",
    )
    ENGINE_AVAILABLE = (
        "info",
        "engine of the fleet answers",
        "`after` is the duration of an outage before, if there was one.",
    )
    FLEET_CONFLICT = (
        "warning",
        "members of the fleet cannot work together as usual",
        (
            "`detail` is one of: another process has this member name (after a crash, wait for `fleet.ttl`; otherwise "
            "set `fleet.member`); members have different numbers of shards (stop all, and start them with the same "
            "`fleet.shards`); members have different configurations (give all the same and reload them); a member with "
            "a newer configuration is gone (its stations, which this member does not know, would be cleared); another "
            "fleet with another engine uses the same client id (give all members the same `fleet.endpoints`). A "
            "second process with a name runs no shard. While the numbers of shards differ, no free shard is claimed. "
            "While the configurations differ, no shard moves for balance. In all cases but the last, no topic of a "
            "removed station is cleared."
        ),
    )
    FLEET_CONFLICT_RESOLVED = (
        "info",
        "members of the fleet work together again",
        "What was not cleared meanwhile is cleared now.",
    )

    def __init__(self, level: Level, text: str, meaning: str) -> None:
        self.level = level
        self.text = text
        self.meaning = meaning

    @property
    def id(self) -> str:
        """The id in log lines: the name in lower case."""
        return self.name.lower()


def log_event(log: Logger, event: LogEvent, **fields: object) -> None:
    """Write one line: the text of `event` with its id and `fields`."""
    log.log(LEVELS[event.level], event.text, event_id=event.id, **fields)
