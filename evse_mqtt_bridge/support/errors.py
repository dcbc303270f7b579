"""What can be raised on purpose, whose fault each is, and the exit code it ends a command with.

    BridgeError             base of all; never raised itself                        exit 1
     +- ConfigError         the configuration is wrong: the user's to mend          exit 78 (EX_CONFIG)
     +- CertificateError    a certificate named on the command line is unusable     exit 1
     +- EditError           an edit of the configuration file could not be done     exit 1
     +- UnavailableError    a broker or station that was asked for does not answer  exit 69 (EX_UNAVAILABLE)
     +- SimulatorError      the simulator cannot start (simulator/server.py)        exit 1

DisconnectReason that is part of the job (a station that does not answer, a broker that went away) is a value, not an
exception. Whatever else is raised is a bug and ends the process loudly.
"""

from dataclasses import dataclass

__all__ = ["BridgeError", "CertificateError", "ConfigError", "EditError", "Problem", "UnavailableError"]


class BridgeError(Exception):
    """Base of every error that is meant to be shown to a person, as its text, without a traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration: where (file or variable, line, key), what, what to do."""

    message: str
    key: str = ""
    source: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.source and self.line else self.source
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(BridgeError):
    """The configuration is wrong; carries each problem, and prints one line for each."""

    exit_code = 78

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class CertificateError(BridgeError):
    """A certificate or key named on the command line cannot be used."""


class EditError(BridgeError):
    """The configuration file could not be edited as asked; nothing was changed."""


class UnavailableError(BridgeError):
    """A service that was asked for is not available."""

    exit_code = 69
