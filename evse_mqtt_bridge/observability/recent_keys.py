"""Keeps a bounded number of keys, for lines that are logged once."""

__all__ = ["RecentKeys"]

Key = tuple[str, ...]


class RecentKeys:
    """A set of keys that drops the oldest ones beyond `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: dict[Key, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: Key) -> bool:
        """Add a key and return whether it is new."""
        if key in self._keys:
            return False
        while len(self._keys) >= self._limit:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = None
        return True

    def clear(self) -> None:
        """Remove all keys."""
        self._keys.clear()
