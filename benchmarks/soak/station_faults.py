"""The faulty responses of the cloud, each with the availability reason that the bridge must publish."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.harness.misbehaving_server import Behaviour, answer, drip, endless, gzip_bomb, hang, raw, reset

__all__ = ["NO_RESPONSE", "STATION_FAULTS", "StationFault"]

NO_RESPONSE = "no response"

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_FOREIGN = [{"plug_uuid": "0" * 32, "evse_uuid": "f" * 32, "power": 1}]


@dataclass(frozen=True, slots=True)
class StationFault:
    """A fault of a station: the server's behaviour, and the expected availability reason."""

    behaviour: Behaviour
    reason: str

    @property
    def rejected(self) -> bool:
        """Whether the bridge polls the station at growing intervals, up to 15 minutes, until its token changes."""
        return self.reason in ("unauthorized", "not_found")


STATION_FAULTS: Mapping[str, StationFault] = {
    "status 500": StationFault(answer("oh", "500 Internal Server Error"), "server_error"),
    "status 502": StationFault(answer("<html>", "502 Bad Gateway"), "server_error"),
    "status 503, wait 1 s": StationFault(answer("", "503 Service Unavailable", retry_after="1"), "server_error"),
    "status 429, wait 2 s": StationFault(answer("", "429 Too Many Requests", retry_after="2"), "rate_limited"),
    "status 401": StationFault(answer("", "401 Unauthorized"), "unauthorized"),
    "status 403": StationFault(answer("", "403 Forbidden"), "unauthorized"),
    "status 404": StationFault(answer("", "404 Not Found"), "not_found"),
    "a redirect": StationFault(answer("", "302 Found", location="http://127.0.0.1:9/steal"), "invalid_response"),
    "a web page": StationFault(answer("<html>Maintenance</html>", content_type="text/html"), "invalid_response"),
    "an empty body": StationFault(answer(""), "invalid_response"),
    "truncated JSON": StationFault(answer('[{"plug_uuid": "0'), "invalid_response"),
    "not an array": StationFault(answer({"plugs": []}), "invalid_response"),
    "no plugs": StationFault(answer([]), "invalid_response"),
    "another station's plug": StationFault(answer(_FOREIGN), "invalid_response"),
    "wrong types": StationFault(answer(json.dumps([{"plug_uuid": 5, "power": "much"}])), "invalid_response"),
    "deeply nested JSON": StationFault(answer("[" * 50_000), "invalid_response"),
    "not HTTP": StationFault(raw(b"[]\r\n\r\n"), "invalid_response"),
    "an encoding that was not requested": StationFault(answer("[]", content_encoding="br"), "invalid_response"),
    "a gzip bomb": StationFault(gzip_bomb(20_000_000), "invalid_response"),
    "a body of 2 GB": StationFault(
        endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65_536), "invalid_response"
    ),
    "a truncated body": StationFault(raw(_HEAD + b"Content-Length: 5000\r\n\r\n[]"), "unreachable"),
    "a reset during the response": StationFault(reset(_HEAD), "unreachable"),
    "a body byte by byte": StationFault(
        drip(_HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000, 0.05), "unreachable"
    ),
    NO_RESPONSE: StationFault(hang(), "unreachable"),
}
