"""Publishes EV charging stations of the CLEMAP cloud as retained MQTT topics."""

from importlib.metadata import version

__version__ = version("evse-mqtt-bridge")
