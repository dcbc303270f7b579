"""Value classes of which thousands of objects are created per second."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ["value_class"]

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def value_class(cls: type[_Class]) -> type[_Class]:
    """Return a dataclass with slots whose objects are frozen for the type checker, but not at run time.

    A frozen dataclass assigns each attribute through `object.__setattr__`, so creating an object takes six times as
    long.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
