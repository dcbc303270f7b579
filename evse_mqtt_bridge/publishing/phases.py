"""The phases of a connection to the broker, and the transitions between them."""

from collections.abc import Mapping
from enum import Enum

__all__ = ["TRANSITIONS", "Phase"]


class Phase(Enum):
    """The phase of a connection."""

    OFFLINE = "no connection"
    RESTORING = "the manifest is being read"
    MIGRATING = "the stages of a migration are being published"
    LIVE = "a full republish and changes are being published"
    CLOSING = "`offline` is being published"


TRANSITIONS: Mapping[tuple[Phase, str], frozenset[Phase]] = {
    (Phase.OFFLINE, "connected"): frozenset({Phase.RESTORING}),
    (Phase.RESTORING, "restored"): frozenset({Phase.RESTORING, Phase.MIGRATING, Phase.LIVE}),
    (Phase.MIGRATING, "stage_acknowledged"): frozenset({Phase.LIVE}),
    (Phase.MIGRATING, "station_changed"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.LIVE, "station_changed"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.MIGRATING, "searched"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.LIVE, "searched"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.MIGRATING, "reconfigured"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.LIVE, "reconfigured"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    **{
        (phase, by): frozenset({Phase.CLOSING})
        for by in ("closing", "handing_over", "abandoning")
        for phase in (Phase.RESTORING, Phase.MIGRATING, Phase.LIVE, Phase.CLOSING)
    },
    **{(phase, "disconnected"): frozenset({Phase.OFFLINE}) for phase in Phase},
}
"""The phases that each method may lead to. A missing combination is a bug in the session."""
