"""`python -m evse_mqtt_bridge` and the `evse-mqtt-bridge` script."""

from evse_mqtt_bridge.cli.main import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    cli(prog_name="evse-mqtt-bridge")


if __name__ == "__main__":
    main()
