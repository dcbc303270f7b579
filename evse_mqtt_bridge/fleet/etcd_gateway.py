"""Calls etcd's JSON gateway: endpoints one after the other, users, errors as sentences.

The gateway is part of etcd 3.4 and later, and answers below `/v3/` of every client URL. It maps the statuses of gRPC to
those of HTTP; `code` in the body of an error is that of gRPC. Bytes are base64, and 64-bit integers are strings.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from evse_mqtt_bridge.fleet.json_client import Answer, JsonClient, NoAnswerError
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["ENDPOINTS_TRIED", "EtcdGateway", "EtcdLogin", "NotFoundInEtcdError"]

ENDPOINTS_TRIED = 3
"""Maximum number of endpoints to try for one call; the next call starts with the one after them."""

_NOT_FOUND = 5
_LEASE = "lease"
"""Part of the text of an error about a lease; a gateway that lacks a path has the same code."""
_PERMISSION_DENIED = 7
_UNAUTHENTICATED = 16
_TRANSIENT = frozenset({1, 2, 4, 8, 13, 14})
"""Cancelled, unknown, deadline exceeded, resource exhausted, internal, unavailable: another endpoint may do better."""

_AUTHENTICATION_DISABLED = "authentication is not enabled"
_LOGIN_NEEDED = ("user name is empty", "invalid auth token", "auth store is old")
"""Texts of errors after which a new token helps. Which code they have depends on the version of etcd."""
_WRONG_PASSWORD = "authentication failed"  # noqa: S105  # a text of etcd
_COMMON_NAME = "CommonName of client"

_Reply = TypeVar("_Reply", bound=BaseModel)


class NotFoundInEtcdError(EngineUnavailableError):
    """etcd does not know the lease that a call named; from a call that named none, etcd does not work."""


@dataclass(frozen=True, slots=True)
class EtcdLogin:
    """A user of etcd.

    Attributes:
        username: The name.
        password: Returns the password, perhaps from a file; called in a thread, before each login. It raises
            ValueError, with a sentence, if there is none.
    """

    username: str
    password: Callable[[], str] = field(repr=False)


class _Error(BaseModel):
    """An error: the body of an answer, or, of a call that streams answers in etcd 3.5, the key `error` of the body."""

    code: int = Field(validation_alias=AliasChoices("code", "grpc_code"))
    message: str = ""


class _Token(BaseModel):
    token: str = Field(pattern=r"^[!-~]+$")  # it becomes a header


class EtcdGateway:
    """Calls the gateway of an etcd cluster.

    Args:
        endpoints: Client URLs, at least one.
        limit: Maximum duration of a request to one endpoint, in seconds.
        login: The user; `None`: none.
        context: TLS settings for https URLs.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        limit: float,
        *,
        login: EtcdLogin | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._client = JsonClient(context, limit)
        self._limit = limit
        self._login = login
        self._token = ""

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def call(self, path: str, body: object, reply: type[_Reply]) -> _Reply:
        """Send a request to the endpoint that answered last, or to those after it, and return the reply.

        If no endpoint answers in time, a request may have had an effect, and may have been sent twice.

        Args:
            path: What follows `/v3/`, such as `kv/txn`.
            body: The request.
            reply: The model of the reply.

        Raises:
            EngineUnavailableError: No endpoint that was tried answered.
            EngineRefusedError: etcd refused the user, or the user lacks a right.
            NotFoundInEtcdError: etcd does not know the lease.
        """
        failures: list[str] = []
        for _ in range(min(ENDPOINTS_TRIED, len(self._endpoints))):
            endpoint = self._endpoints[0]
            try:
                return _parsed(await self._answer(endpoint, path, body), reply)
            except NoAnswerError as error:
                failures.append(f"{endpoint}: {error}")
                self._endpoints.append(self._endpoints.pop(0))
        raise EngineUnavailableError(f"etcd does not answer: {'; '.join(failures)}")

    async def _answer(self, endpoint: str, path: str, body: object) -> Answer:
        """Return the successful answer of an endpoint, if necessary after a login.

        Raises:
            NoAnswerError: The endpoint failed.
            EngineRefusedError: See `call`.
            NotFoundInEtcdError: See `call`.
        """
        if self._login is not None and not self._token:
            await self._log_in(endpoint, self._login)
        answer = await self._post(endpoint, path, body)
        error = _error(answer)
        if error is not None and self._login is not None and _needs_login(error):
            await self._log_in(endpoint, self._login)
            answer = await self._post(endpoint, path, body)
            error = _error(answer)
        if error is None:
            return answer
        raise self._exception(error, endpoint)

    async def _post(self, endpoint: str, path: str, body: object) -> Answer:
        headers = {"Authorization": self._token} if self._token else None
        return await self._client.request("POST", f"{endpoint}/v3/{path}", body=body, headers=headers)

    async def _log_in(self, endpoint: str, login: EtcdLogin) -> None:
        """Get a token; there is none while etcd has authentication disabled."""
        self._token = ""
        try:
            async with asyncio.timeout(self._limit):
                password = await in_daemon_thread(login.password, "fleet-password")
        except TimeoutError:
            raise EngineUnavailableError(f"fleet.password_file could not be read within {self._limit:.3g} s") from None
        except ValueError as reason:
            raise EngineRefusedError(f"fleet.password_file: {reason}") from None
        answer = await self._post(endpoint, "auth/authenticate", {"name": login.username, "password": password})
        error = _error(answer)
        if error is None:
            self._token = _parsed(answer, _Token).token
        elif _AUTHENTICATION_DISABLED not in error.message:
            raise self._exception(error, endpoint)

    def _exception(self, error: _Error, endpoint: str) -> Exception:
        """Return the exception for an error of etcd."""
        text = clean(error.message, 200)
        if error.code == _NOT_FOUND and _LEASE in text:
            return NotFoundInEtcdError(f"etcd at {endpoint} answers: {text}")
        user = f"user {self._login.username}" if self._login else "no user"
        if _WRONG_PASSWORD in text:
            advice = f"rejected {user}; check fleet.username and fleet.password_file"
        elif _COMMON_NAME in text:
            advice = (
                "has users, and then accepts no client certificate with a Common Name; "
                "issue one without it for fleet.tls.cert_file"
            )
        elif error.code == _PERMISSION_DENIED:
            advice = f"denied {user} a right; grant its role readwrite on the prefix /evse-mqtt-bridge/"
        elif _needs_login(error):
            advice = f"requires a user, and there is {user}; set fleet.username and fleet.password_file"
        elif error.code in _TRANSIENT:
            return NoAnswerError(text)
        else:
            advice = f"rejected a request ({text}); the bridge supports etcd 3.4 and later"
        return EngineRefusedError(f"etcd at {endpoint} {advice}")


_OK = 200


def _needs_login(error: _Error) -> bool:
    return error.code == _UNAUTHENTICATED or any(text in error.message for text in _LOGIN_NEEDED)


def _error(answer: Answer) -> _Error | None:
    """Return the error in an answer; `None`: it is a success.

    Raises:
        NoAnswerError: The answer is not one of etcd.
    """
    data = answer.data()
    inner = data.get("error") if isinstance(data, dict) else None
    if answer.status == _OK and not isinstance(inner, dict):
        return None
    try:
        return _Error.model_validate(inner if isinstance(inner, dict) else data)
    except ValidationError:
        if _COMMON_NAME.encode() in answer.body:  # the gateway itself rejects the request, with plain text
            return _Error(grpc_code=_UNAUTHENTICATED, message=_COMMON_NAME)
        raise NoAnswerError(f"HTTP {answer.status}, which is not an answer of etcd's API v3") from None


def _parsed(answer: Answer, reply: type[_Reply]) -> _Reply:
    """Return the reply in a successful answer.

    Raises:
        NoAnswerError: The answer is not one of etcd.
    """
    try:
        return reply.model_validate(answer.data())
    except ValidationError:
        raise NoAnswerError("the answer is not one of etcd's API v3") from None
