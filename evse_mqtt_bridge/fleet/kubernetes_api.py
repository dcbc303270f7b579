"""Calls the Kubernetes API for the Leases of a namespace: token of the service account, conflicts, errors."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from pydantic import ValidationError

from evse_mqtt_bridge.cloud.retry_after import http_date
from evse_mqtt_bridge.fleet.json_client import Answer, JsonClient, NoAnswerError
from evse_mqtt_bridge.fleet.leases import FLEET_LABEL, Lease, LeaseList
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["ConflictError", "KubernetesApi", "Reading"]

_TOKEN_AGE = 60.0
"""Seconds after which the token is read again, as the kubelet replaces it before it expires."""

_UNAUTHORIZED = 401
_NOT_FOUND = 404
_CONFLICT = 409
_TOO_MANY = 429
_SERVER_ERROR = 500


class ConflictError(Exception):
    """The object exists already, was changed meanwhile, or no longer exists."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The Leases of a fleet.

    Attributes:
        leases: By name.
        time: The time of the API server; `None`: unknown.
    """

    leases: dict[str, Lease]
    time: datetime | None


class KubernetesApi:
    """Reads and writes Leases.

    Args:
        url: The API server.
        namespace: The namespace of the Leases.
        token_file: The file with the token of the service account.
        limit: Maximum duration of a request, in seconds.
        context: TLS settings for an https URL.
    """

    def __init__(
        self, url: str, namespace: str, token_file: Path, limit: float, context: ssl.SSLContext | None = None
    ) -> None:
        self._server = url.rstrip("/")
        self._namespace = namespace
        self._url = f"{self._server}/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"
        self._token_file = token_file
        self._token = ""
        self._token_until = 0.0
        self._limit = limit
        self._client = JsonClient(context, limit)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def read_all(self, fleet: str) -> Reading:
        """Return the Leases with the label of a fleet; those that cannot be read are left out."""
        answer = await self._request("GET", f"{self._url}?{urlencode({'labelSelector': f'{FLEET_LABEL}={fleet}'})}")
        if answer.status == _NOT_FOUND:
            raise EngineUnavailableError(f"{self._server} does not answer like the Kubernetes API; check the URL")
        try:
            found = LeaseList.model_validate(answer.data())
        except ValidationError:
            raise self._unavailable("the answer is not a list of Leases") from None
        return Reading({lease.metadata.name: lease for lease in found.items}, http_date(answer.headers.get("date", "")))

    async def read(self, name: str) -> Lease | None:
        """Return a Lease; `None`: it does not exist."""
        answer = await self._request("GET", f"{self._url}/{name}")
        return None if answer.status == _NOT_FOUND else self._lease(answer)

    async def create(self, lease: Lease) -> Lease:
        """Create a Lease, and return it as it is now.

        Raises:
            ConflictError: It exists.
        """
        answer = await self._request("POST", self._url, lease.body())
        if answer.status == _NOT_FOUND:
            raise EngineRefusedError(
                f"the namespace {self._namespace} does not exist; create it, or set fleet.namespace"
            )
        return self._changed(answer)

    async def update(self, lease: Lease) -> Lease:
        """Replace a Lease if it still has this resource version, and return it as it is now.

        Raises:
            ConflictError: It was changed or deleted meanwhile.
        """
        return self._changed(await self._request("PUT", f"{self._url}/{lease.metadata.name}", lease.body()))

    async def delete(self, lease: Lease) -> None:
        """Delete a Lease if it still has this resource version.

        Raises:
            ConflictError: It was changed or deleted meanwhile.
        """
        preconditions = {"uid": lease.metadata.uid, "resourceVersion": lease.metadata.resource_version}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        answer = await self._request("DELETE", f"{self._url}/{lease.metadata.name}", body)
        if answer.status in {_NOT_FOUND, _CONFLICT}:
            raise ConflictError

    def _changed(self, answer: Answer) -> Lease:
        if answer.status in {_NOT_FOUND, _CONFLICT}:
            raise ConflictError
        return self._lease(answer)

    def _lease(self, answer: Answer) -> Lease:
        try:
            return Lease.model_validate(answer.data())
        except ValidationError:
            raise self._unavailable("the answer is not a Lease") from None

    async def _request(self, method: str, url: str, body: object = None) -> Answer:
        """Return an answer that is a success, a conflict or not found; after a rejected token, with a new one."""
        try:
            answer = await self._client.request(method, url, body=body, headers=await self._headers())
            if answer.status == _UNAUTHORIZED:
                self._token = ""
                answer = await self._client.request(method, url, body=body, headers=await self._headers())
        except NoAnswerError as error:
            raise self._unavailable(str(error)) from None
        if answer.status < 300 or answer.status in {_NOT_FOUND, _CONFLICT}:  # noqa: PLR2004  # HTTP
            return answer
        raise self._exception(answer)

    async def _headers(self) -> Mapping[str, str]:
        now = time.monotonic()
        if not self._token or now > self._token_until:
            try:
                async with asyncio.timeout(self._limit):
                    token = await in_daemon_thread(self._read_token, "service-account")
            except TimeoutError:
                raise self._unavailable(f"{self._token_file} could not be read within {self._limit:.3g} s") from None
            self._token, self._token_until = token, now + _TOKEN_AGE
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}

    def _read_token(self) -> str:
        try:
            return self._token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "it is not ASCII text"
            raise EngineRefusedError(
                f"{self._token_file}, the token for the Kubernetes API, cannot be read: {reason}; "
                "in a pod, set automountServiceAccountToken: true"
            ) from None

    def _exception(self, answer: Answer) -> Exception:
        match answer.status:
            case 401:
                return EngineRefusedError(
                    f"the API server {self._server} rejected the token in {self._token_file}; "
                    "does the service account still exist?"
                )
            case 403:
                return EngineRefusedError(
                    f"the service account lacks a right in namespace {self._namespace}; its Role needs get, list, "
                    f"create, update and delete for leases of coordination.k8s.io ({_message(answer)})"
                )
            case status if status == _TOO_MANY or status >= _SERVER_ERROR:
                return self._unavailable(f"HTTP {status} {_message(answer)}".rstrip())
        return EngineRefusedError(
            f"the API server {self._server} rejected a request: HTTP {answer.status} {_message(answer)}".rstrip()
        )

    def _unavailable(self, reason: str) -> EngineUnavailableError:
        return EngineUnavailableError(f"the Kubernetes API does not answer: {self._server}: {reason}")


def _message(answer: Answer) -> str:
    """Return the message of a Status, as the API server describes errors."""
    data = answer.data()
    text = data.get("message", "") if isinstance(data, dict) else ""
    return clean(text, 200) if isinstance(text, str) else ""
