"""Watching files as a component, for `run --watch`: when a file of the configuration changes, the bridge reloads.

The folders are watched, and not the files: editors replace a file, and Kubernetes replaces a link beside it. At each
event the files themselves show whether they have changed. They are also looked up from time to time, because some
network shares report no events.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

from watchfiles import awatch

from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["FileWatch"]

_LONGEST_PAUSE = 30.0
"""Maximum time until the files are looked up again, in seconds."""

_Signature = tuple[int, int, int, int]
"""What changes if a file is written or replaced: device, inode, size, and time of the last change in nanoseconds."""


class FileWatch(WatchedComponent):
    """Requests a reload when a file of the configuration changes.

    Args:
        loaded: The configuration at the start.
        on_change: Requests a reload.
    """

    def __init__(self, loaded: Loaded, on_change: Callable[[], None]) -> None:
        self.task = BackgroundTask("file-watch")
        self._files = _files_of(loaded)
        self._on_change = on_change

    def follow(self, load: Callable[[], Loaded]) -> Callable[[], Loaded]:
        """Return a function that calls `load`; the files of the configuration are watched from then on."""

        def load_and_follow() -> Loaded:
            loaded = load()
            self._files = _files_of(loaded)
            return loaded

        return load_and_follow

    async def start(self) -> None:
        """Watch the files from now on."""
        self.task.start(self._run())

    async def stop(self) -> None:
        """Stop watching."""
        await self.task.stop()

    async def _run(self) -> None:
        signatures = await _signatures(self._files)
        while True:
            files = self._files
            async with aclosing(_events(files)) as events:
                async for _ in events:
                    found = await _signatures(files)
                    if found != signatures:
                        signatures = found
                        self._on_change()
                    if self._files != files:  # the new configuration names other files
                        break
            added = await _signatures(self._files - files)
            signatures = {file: signature for file, signature in signatures.items() if file in self._files} | added


async def _events(files: frozenset[Path]) -> AsyncGenerator[None, None]:
    """Yield at each event in the folders of these files, and at the latest after a pause."""
    folders = await in_daemon_thread(partial(_folders, files), "file-watch")
    try:
        async for _ in awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            rust_timeout=round(_LONGEST_PAUSE * 1000),
            yield_on_timeout=True,
        ):
            yield
    except (OSError, RuntimeError):  # the system has no watches left, or a folder was removed
        await asyncio.sleep(_LONGEST_PAUSE)
        yield


async def _signatures(files: frozenset[Path]) -> dict[Path, _Signature | None]:
    """Return the signature of each file; `None` if it does not exist, or cannot be looked up."""
    return await in_daemon_thread(partial(_look_up, files), "file-watch")


def _folders(files: frozenset[Path]) -> list[Path]:
    """Return the folders of the files, and of the files to which links lead."""
    folders = {folder for file in files for folder in (file.parent, Path(os.path.realpath(file)).parent)}
    return sorted(folder for folder in folders if folder.is_dir())


def _look_up(files: frozenset[Path]) -> dict[Path, _Signature | None]:
    return {file: _signature(file) for file in files}


def _signature(file: Path) -> _Signature | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _files_of(loaded: Loaded) -> frozenset[Path]:
    """Return the files of a configuration: its own, and those that it names."""
    names = {name for name in _names(loaded.config) if name}
    return frozenset([*map(Path, names), *([loaded.path.absolute()] if loaded.path else [])])


def _names(config: Config) -> list[str]:
    tls = config.mqtt.tls
    certificates = [tls.ca_file, tls.cert_file, tls.key_file] if tls else []
    tokens = [entry.token_file for entry in config.stations]
    return [config.mqtt.password_file, config.cloud.ca_file, *certificates, *tokens]
