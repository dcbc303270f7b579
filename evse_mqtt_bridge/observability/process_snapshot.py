"""The process of a running bridge and its last reload: the data of the command `reload`.

`/api/process` serves it as JSON to clients on the same machine.
"""

from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

__all__ = ["ProcessSnapshot", "ReloadOutcome", "from_json", "to_json"]


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """The outcome of a reload.

    Attributes:
        number: The number of the reload, from 1.
        problems: Why the configuration was rejected; empty: it was applied.
        stations: Number of configured stations.
        added: Number of added stations.
        removed: Number of removed stations.
        changed: Number of changed stations.
    """

    number: int
    problems: tuple[str, ...] = ()
    stations: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """The process of a bridge.

    Attributes:
        client_id: The MQTT client id.
        pid: The PID in its own namespace.
        identity: Identifies the process, see support/processes.py; empty: unknown.
        reloads_started: Number of reloads that have started.
        outcome: The outcome of the last completed reload; `None` before the first one.
    """

    client_id: str
    pid: int
    identity: str
    reloads_started: int
    outcome: ReloadOutcome | None


@cache
def _adapter() -> TypeAdapter[ProcessSnapshot]:
    """Return the adapter, which only a bridge with a status page needs."""
    return TypeAdapter(ProcessSnapshot)


def to_json(snapshot: ProcessSnapshot) -> bytes:
    """Return a snapshot as JSON."""
    return _adapter().dump_json(snapshot)


def from_json(text: bytes) -> ProcessSnapshot:
    """Return the snapshot from its JSON.

    Raises:
        ValueError: The text is not the JSON of a snapshot.
    """
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        raise ValueError("not a snapshot of a bridge") from error
