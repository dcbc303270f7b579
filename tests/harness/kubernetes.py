"""A server that behaves like the Kubernetes API server for Leases, as far as the bridge uses it.

It follows the API's conventions and the registry of Leases: optimistic concurrency by resource version, no update
without one, creation by PUT, equality label selectors, preconditions of DELETE, errors as objects of kind Status.
"""

import copy
import re
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Self

from aiohttp import web

from tests.harness.net import HOST, free_port

__all__ = ["KubernetesServer"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

Lease = dict[str, Any]


class KubernetesServer:
    """Serves the Leases of one namespace; use it as an asynchronous context manager.

    Args:
        namespace: The namespace; creation in others fails.
        tokens: The tokens that are accepted.

    Attributes:
        leases: The objects by name.
        tokens: The tokens that are accepted.
        allowed: The methods that the service account may use.
        failure: The status of all answers, such as 503; 0: none.
        clock_offset: How far the clock of the server is ahead.
        requests: The method and the path of each request.
    """

    def __init__(self, namespace: str = "evse", tokens: tuple[str, ...] = ("token",)) -> None:
        self.leases: dict[str, Lease] = {}
        self.tokens = set(tokens)
        self.allowed = {"GET", "POST", "PUT", "DELETE"}
        self.failure = 0
        self.clock_offset = timedelta()
        self.requests: list[tuple[str, str]] = []
        self._namespace = namespace
        self._version = 1
        self._port = free_port()
        application = web.Application()
        path = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        application.router.add_get(path, self._list)
        application.router.add_post(path, self._create)
        application.router.add_get(f"{path}/{{name}}", self._read)
        application.router.add_put(f"{path}/{{name}}", self._update)
        application.router.add_delete(f"{path}/{{name}}", self._delete)
        application.middlewares.append(self._admit)
        application.on_response_prepare.append(self._set_date)
        self._runner = web.AppRunner(application)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{HOST}:{self._port}"

    @web.middleware
    async def _admit(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401  # aiohttp's type
        self.requests.append((request.method, request.path_qs))
        if self.failure:
            return _status(self.failure, "InternalError", "etcdserver: request timed out")
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _status(401, "Unauthorized", "Unauthorized")
        if request.method not in self.allowed:
            return _status(403, "Forbidden", "leases.coordination.k8s.io is forbidden: User cannot use it")
        response: web.StreamResponse = await handler(request)
        return response

    async def _set_date(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(datetime.now(UTC) + self.clock_offset, usegmt=True)

    async def _list(self, request: web.Request) -> web.Response:
        wanted = dict(term.split("=", 1) for term in request.query.get("labelSelector", "").split(",") if term)
        found = [
            lease
            for lease in self.leases.values()
            if wanted.items() <= lease["metadata"].get("labels", {}).items()
            and request.match_info["namespace"] == self._namespace
        ]
        body = {"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {}, "items": found}
        return web.json_response(body)

    async def _create(self, request: web.Request) -> web.Response:
        lease = await request.json()
        name = lease["metadata"]["name"]
        if request.match_info["namespace"] != self._namespace:
            return _status(404, "NotFound", f'namespaces "{request.match_info["namespace"]}" not found')
        if name in self.leases:
            return _status(409, "AlreadyExists", f'leases.coordination.k8s.io "{name}" already exists')
        if error := _validation_error(lease):
            return _status(422, "Invalid", error)
        return self._store(lease, 201)

    async def _read(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response(self.leases[name]) if name in self.leases else _not_found(name)

    async def _update(self, request: web.Request) -> web.Response:
        lease, name = await request.json(), request.match_info["name"]
        present = self.leases.get(name)
        if rejection := _rejected_update(lease, present):
            return rejection
        if lease == present:  # an update without a change has no effect
            return web.json_response(present)
        if present is None:  # AllowCreateOnUpdate of Leases
            return self._store(lease, 201)
        return self._store(lease, 200, present["metadata"]["uid"])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.leases:
            return _not_found(name)
        options = await request.json() if request.can_read_body else {}
        for key, value in options.get("preconditions", {}).items():
            if self.leases[name]["metadata"][key] != value:
                return _status(409, "Conflict", f"Precondition failed: {key}")
        del self.leases[name]
        return _status(200, "", "", "Success")

    def _store(self, lease: Lease, status: int, uid: str = "") -> web.Response:
        self._version += 1
        metadata = lease["metadata"]
        metadata["namespace"] = self._namespace
        metadata["resourceVersion"] = str(self._version)
        metadata["uid"] = uid or str(uuid.uuid4())
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        metadata["managedFields"] = [{"manager": "evse-mqtt-bridge", "operation": "Update"}]
        self.leases[metadata["name"]] = copy.deepcopy(lease)
        return web.json_response(lease, status=status)


def _rejected_update(lease: Lease, present: Lease | None) -> web.Response | None:
    """Return the answer to an update that is rejected; `None`: it is not."""
    if present is None and lease["metadata"].get("uid"):
        return _status(409, "Conflict", "uid mismatch: the provided object specified a uid, and no object was found")
    version = lease["metadata"].get("resourceVersion", "")
    if present is not None and not version:  # AllowUnconditionalUpdate of Leases
        return _status(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
    if present is not None and version != present["metadata"]["resourceVersion"]:
        return _status(409, "Conflict", "the object has been modified; please apply your changes to the latest version")
    error = _validation_error(lease)
    return _status(422, "Invalid", error) if error else None


def _validation_error(lease: Lease) -> str:
    """Return what the API server rejects in a Lease; empty: nothing."""
    metadata, spec = lease["metadata"], lease.get("spec", {})
    keys = [*metadata.get("labels", {}), *metadata.get("annotations", {})]
    times = [spec[key] for key in ("acquireTime", "renewTime") if key in spec]
    if not _NAME.fullmatch(metadata["name"]) or len(metadata["name"]) > 253:
        return "metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
    if not all(map(_QUALIFIED.fullmatch, keys)) or not all(map(_LABEL.fullmatch, metadata.get("labels", {}).values())):
        return "metadata: a qualified name must consist of alphanumeric characters"
    if spec.get("leaseDurationSeconds", 1) <= 0 or spec.get("leaseTransitions", 0) < 0:
        return "spec: must be greater than 0"
    return "" if all(map(_MICRO_TIME.fullmatch, times)) else "spec: parsing time"


def _not_found(name: str) -> web.Response:
    return _status(404, "NotFound", f'leases.coordination.k8s.io "{name}" not found')


def _status(code: int, reason: str, message: str, status: str = "Failure") -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": status, "message": message, "reason": reason, "code": code}
    return web.json_response(body, status=code)
