"""Errors that are shown to the user, with the exit code of the command that they end.

    BridgeError             base class, raised only as one of the classes below     exit 1
     +- CertificateError    a certificate or key file cannot be used                exit 1
     +- ConfigError         the configuration has errors, which the user can fix    exit 78 (EX_CONFIG)
     +- EditError           the configuration file could not be edited              exit 1
     +- FleetError          a fleet is not as a command requires                    exit 1
     +- ReloadError         the running bridge cannot be reloaded from here         exit 1
     +- SimulatorError      the simulator cannot start (simulator/server.py)        exit 1
     +- UnavailableError    the broker or a station does not answer                 exit 69 (EX_UNAVAILABLE)

Expected failures of a running bridge, such as a failed poll or a lost broker connection, are values, not exceptions.
Any other exception is a bug and ends the process with a traceback.
"""

from dataclasses import dataclass

__all__ = [
    "BridgeError",
    "CertificateError",
    "ConfigError",
    "EditError",
    "FleetError",
    "Problem",
    "ReloadError",
    "UnavailableError",
]


class BridgeError(Exception):
    """Base of the errors whose text is shown to the user without a traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One error or warning about a configuration.

    Attributes:
        message: The error, and what to do.
        key: The key, such as `mqtt.host`; empty if there is none.
        source: The file or environment variable; empty if there is none.
        line: The line in the file, from 1.
    """

    message: str
    key: str = ""
    source: str = ""
    line: int | None = None

    def __str__(self) -> str:
        position = f"{self.source}:{self.line}" if self.source and self.line else self.source
        return ": ".join(part for part in (position, self.key, self.message) if part)


class ConfigError(BridgeError):
    """The configuration has errors; the text has one line for each problem."""

    exit_code = 78

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class CertificateError(BridgeError):
    """A certificate or key file cannot be used."""


class EditError(BridgeError):
    """The configuration file could not be edited; it was not changed."""


class FleetError(BridgeError):
    """A fleet is not as a command requires."""


class ReloadError(BridgeError):
    """The running bridge cannot be reloaded by this user, or from this machine."""


class UnavailableError(BridgeError):
    """The broker or a station does not answer."""

    exit_code = 69
