"""What a cloud can answer instead of the truth, and the reason that the bridge must give for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.harness.misbehaving_server import Behaviour, answer, drip, endless, gzip_bomb, hang, raw, reset

__all__ = ["TROUBLES", "DisconnectReason"]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_FOREIGN = [{"plug_uuid": "0" * 32, "evse_uuid": "f" * 32, "power": 1}]


@dataclass(frozen=True, slots=True)
class DisconnectReason:
    """What is answered, and the reason that it gives; who is `rejected` is asked again every 15 minutes only."""

    lie: Behaviour
    reason: str

    @property
    def rejected(self) -> bool:
        """Whether only a changed token makes the bridge ask at once."""
        return self.reason in ("unauthorized", "not_found")


TROUBLES: Mapping[str, DisconnectReason] = {
    "status 500": DisconnectReason(answer("oh", "500 Internal Server Error"), "server_error"),
    "status 502": DisconnectReason(answer("<html>", "502 Bad Gateway"), "server_error"),
    "status 503, wait 1 s": DisconnectReason(answer("", "503 Service Unavailable", retry_after="1"), "server_error"),
    "status 429, wait 2 s": DisconnectReason(answer("", "429 Too Many Requests", retry_after="2"), "rate_limited"),
    "status 401": DisconnectReason(answer("", "401 Unauthorized"), "unauthorized"),
    "status 403": DisconnectReason(answer("", "403 Forbidden"), "unauthorized"),
    "status 404": DisconnectReason(answer("", "404 Not Found"), "not_found"),
    "a redirect": DisconnectReason(answer("", "302 Found", location="http://127.0.0.1:9/steal"), "invalid_response"),
    "a web page": DisconnectReason(answer("<html>Maintenance</html>", content_type="text/html"), "invalid_response"),
    "an empty body": DisconnectReason(answer(""), "invalid_response"),
    "JSON cut off": DisconnectReason(answer('[{"plug_uuid": "0'), "invalid_response"),
    "no array": DisconnectReason(answer({"plugs": []}), "invalid_response"),
    "no plugs": DisconnectReason(answer([]), "invalid_response"),
    "another station's plug": DisconnectReason(answer(_FOREIGN), "invalid_response"),
    "wrong types": DisconnectReason(answer(json.dumps([{"plug_uuid": 5, "power": "much"}])), "invalid_response"),
    "deep JSON": DisconnectReason(answer("[" * 50_000), "invalid_response"),
    "no HTTP": DisconnectReason(raw(b"[]\r\n\r\n"), "invalid_response"),
    "an unasked encoding": DisconnectReason(answer("[]", content_encoding="br"), "invalid_response"),
    "a gzip bomb": DisconnectReason(gzip_bomb(20_000_000), "invalid_response"),
    "a body of 2 GB": DisconnectReason(
        endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65_536), "invalid_response"
    ),
    "a body that ends early": DisconnectReason(raw(_HEAD + b"Content-Length: 5000\r\n\r\n[]"), "unreachable"),
    "a reset in mid-answer": DisconnectReason(reset(_HEAD), "unreachable"),
    "a body that drips": DisconnectReason(
        drip(_HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000, 0.05), "unreachable"
    ),
    "silence": DisconnectReason(hang(), "unreachable"),
}
