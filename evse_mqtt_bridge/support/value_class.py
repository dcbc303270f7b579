"""Value classes with many objects, or of which thousands are created per second."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

__all__ = ["value_class"]

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[_Class]) -> type[_Class]:
    """Return a dataclass with slots whose objects are frozen for the type checker, but not at run time.

    A frozen dataclass assigns each attribute through `object.__setattr__`, so creating an object takes six times as
    long. If it has slots, its `__setattr__` also keeps the original class without slots in memory: 5 KB.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
