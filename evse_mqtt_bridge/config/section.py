"""The base of the tables in the configuration."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """Base of the tables: immutable, rejects unknown keys, converts no types and keeps values out of error messages.

    The docstrings of the attributes describe the keys. schema_index.py reads them when they are needed; Pydantic's
    `use_attribute_docstrings` would read the sources at each start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
