"""Keeps optional packages that libraries import if they find them, and that a command does not need, out of memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without"]


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports of these modules fail meanwhile, as if they were not installed; a loaded module stays loaded.

    Args:
        names: Full names of modules that the imported code treats as optional.
    """
    hidden = [name for name in names if name not in sys.modules]
    # None makes an import raise ModuleNotFoundError ("The import system", 5.3.1).
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
