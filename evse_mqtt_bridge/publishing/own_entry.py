"""Whether the broker has the present entry of the bridge itself, and what must be published for that.

The broker publishes the will at any time. So as soon as the bridge's own `info` is read, the bridge publishes its entry
there, unless the `info` has it. The entry lists every base topic that this bridge has left and not cleared.
"""

from evse_mqtt_bridge.publishing.manifest import BridgeEntry
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.renderer import Renderer

__all__ = ["OwnEntry"]


class OwnEntry:
    """The state of the entry, over all connections.

    Args:
        renderer: Renders the `info`, and has the previous entries.

    Attributes:
        early_info: The `info` as published before the full republish, which then need not repeat it; `None`: none.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._connected_as: BridgeEntry | None = None
        """The entry when the connection was accepted: its availability is the topic of the will."""
        self._is_recorded: bool | None = None
        """Whether the broker has the present entry; `None`: the `info` is not yet read."""
        self.early_info: Message | None = None
        self._unrecorded: dict[str, None] = {}
        """The topics of wills whose entry may not be on the broker: the connection ended before."""
        self._is_left_cleared = False

    @property
    def is_read(self) -> bool:
        """Whether the `info` is read."""
        return self._is_recorded is not None

    @property
    def is_pending(self) -> bool:
        """Whether the first `info` of the connection, or the one that may repeat an early one, is to follow."""
        return self.early_info is not None or not self._is_left_cleared

    def connected(self) -> None:
        """Note that the broker accepted a connection."""
        self._connected_as, self._is_recorded, self.early_info = self._renderer.bridge_entry(), None, None
        self._is_left_cleared = False

    def read(self, entries: tuple[BridgeEntry, ...] | None) -> list[Message]:
        """Note the entries in the `info`, if it is read; return the messages to publish before all others."""
        if entries is None or self._is_recorded is not None:
            return []
        renderer = self._renderer
        current = renderer.bridge_entry()
        for entry in entries:
            if not current.covers(entry):
                renderer.previous.add(entry)
        wanted = (current, *renderer.previous.bridges)
        self._is_recorded = all(any(entry.covers(each) for entry in entries) for each in wanted)
        return [] if self._is_recorded and not self._left else [renderer.bridge_info()]

    @property
    def _left(self) -> list[str]:
        """The topics of wills below other base topics, without an entry there."""
        return [] if self._is_left_cleared else [each for each in self._unrecorded if each != self._current_will]

    @property
    def _current_will(self) -> str:
        return self._renderer.plan.topics.availability

    def clear_left(self) -> list[Message]:
        """Return the messages to publish before the `info`, once per connection.

        A base topic without an entry of its own cannot be found under a third base topic, because only the `info` under
        the second one names it. So its availability is cleared before that `info` is published.
        """
        left, self._is_left_cleared = self._left, True
        return list(clear(left))

    def is_repeated(self, message: Message) -> bool:
        """Return whether a message repeats `early_info`."""
        if message != self.early_info:
            return False
        self.early_info = None
        return True

    def published(self, info: Message, *, is_restoring: bool) -> None:
        """Note that the `info` is published, while the manifest is being read or later."""
        self._is_recorded = True
        self._unrecorded.clear()
        self.early_info = info if is_restoring else None

    def last_messages(self) -> list[Message]:
        """Return the messages to publish before `offline`."""
        return [self._renderer.bridge_info()] if self._is_recorded is False else []

    def switched(self, old: BridgeEntry) -> None:
        """Note that the publishing plan changed; `old` is the entry before."""
        new = self._renderer.bridge_entry()
        if (new.topics, new.client_id) != (old.topics, old.client_id):
            self._is_recorded = None
        elif new != old and self._is_recorded:
            self._is_recorded = False

    def disconnected(self) -> None:
        """Note that the connection ended: the will may be published."""
        if self._connected_as is None:
            return
        if not self._is_recorded:
            self._unrecorded[self._connected_as.topics.availability] = None
        self._renderer.previous.add(self._connected_as)
        self._renderer.previous.add(self._renderer.bridge_entry())
        self._connected_as = None
