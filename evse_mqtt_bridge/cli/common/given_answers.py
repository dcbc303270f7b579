"""The answers to the questions of `init` that are given as options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

__all__ = ["PLUG_KEYS", "GivenAnswers"]

PLUG_KEYS = ("plugs", "plug_names")
"""The keys of `--station` for the alias and the display name of a plug: `plugs.UUID` and `plug_names.UUID`."""


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """Answers given as options of `init`; `None` or empty: not given.

    Attributes:
        host: Host name or address of the broker.
        port: Port of the broker, 1 to 65535.
        tls: Whether to connect to the broker with TLS.
        ca_file: CA of the broker's certificate.
        cert_file: Client certificate.
        key_file: Key of the client certificate.
        username: User name on the broker.
        password_file: File that contains the password.
        password_stdin: Whether standard input starts with the password.
        cloud_url: Address of the API.
        cloud_ca_file: CA to trust for the API.
        station: The fields of each station; those of a plug are in PLUG_KEYS, with its uuid.
        no_stations: Whether to configure no station.
        token_stdin: Whether standard input has a line for each station without a token file.
        interval: Seconds between two polls of a station.
        homeassistant: Whether to publish discovery for Home Assistant.
        no_input: Whether to disable prompts.
        skip_tests: Whether to skip the tests of the broker and the stations.
        anyway: Whether to keep answers whose test fails.
    """

    host: str | None
    port: int | None
    tls: bool | None
    ca_file: str | None
    cert_file: str
    key_file: str
    username: str | None
    password_file: str | None
    password_stdin: bool
    cloud_url: str
    cloud_ca_file: str
    station: Sequence[Mapping[str, str]]
    no_stations: bool
    token_stdin: bool
    interval: float | None
    homeassistant: bool | None
    no_input: bool
    skip_tests: bool
    anyway: bool

    @property
    def uses_tls(self) -> bool | None:
        """Whether to connect with TLS; files for TLS imply it."""
        return True if self.ca_file or self.cert_file or self.key_file else self.tls

    def without_broker(self) -> "GivenAnswers":
        """Return these answers without those about the broker, so that all of them are prompted for."""
        return replace(
            self,
            host=None,
            port=None,
            tls=None,
            ca_file=None,
            cert_file="",
            key_file="",
            username=None,
            password_file=None,
            password_stdin=False,
        )
