"""The vendor's API as a handler of httpx.MockTransport, with the interface of the harness's CloudServer."""

import asyncio
import time

import httpx

from tests.harness.cloud import Answer, Request

__all__ = ["MockCloud"]


class MockCloud:
    """Answers requests in memory; `requests` contains the received requests, in order."""

    url = "http://cloud.example:3032"

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str, Answer] = {}

    def answer(self, uuid: str, body: object) -> None:
        """Set the response of a station: an Answer, or a body with status 200."""
        self._answers[uuid] = body if isinstance(body, Answer) else Answer(body)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Handle a request (httpx.MockTransport)."""
        parts = request.url.path.split("/")
        is_status = len(parts) == 6 and parts[1::2] == ["edgedevices", "evses", "status"]
        edge_device_id, uuid = (parts[2], parts[4]) if is_status else ("", "")
        headers = dict(request.headers)
        self.requests.append(Request(request.method, request.url.path, headers, time.monotonic(), edge_device_id, uuid))
        answer = self._answers.get(uuid, Answer({"message": "not found"}, 404))
        await asyncio.sleep(answer.delay)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.encoded())
