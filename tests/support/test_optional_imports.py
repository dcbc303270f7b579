"""The context in which optional modules are missing."""

import sys
from importlib import import_module

import pytest

from evse_mqtt_bridge.support.optional_imports import without


def test_without_hides_modules_only_meanwhile() -> None:
    sys.modules.pop("this", None)
    with without("this"), pytest.raises(ModuleNotFoundError):
        import_module("this")
    assert "this" not in sys.modules


def test_without_leaves_loaded_modules() -> None:
    with without("sys"):
        assert import_module("sys") is sys
    assert sys.modules["sys"] is sys


def test_without_restores_imports_after_an_error() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(ZeroDivisionError), without("this"):
        raise ZeroDivisionError
    assert "this" not in sys.modules
