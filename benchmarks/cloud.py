"""nginx as the vendor's API: any number of stations over TLS, of which a chosen share changes with each response.

Each station has two plugs. nginx derives the response from the requested path, so additional stations cost nothing.
`time` is nginx's clock in milliseconds, which the latency measurement uses. The last hex digit of a station's uuid
assigns it to one of 16 groups; a fault can be started for a group at any time.
"""

import getpass
import os
import shutil
import ssl
import string
import subprocess
import urllib.request
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import pin
from tests.harness.certificates import Authority
from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["Cloud", "StationFault", "plugs_of", "uuid_of"]

_CONFIG = string.Template("""
daemon off; worker_processes 1; worker_rlimit_nofile 16384;
pid $folder/nginx.pid; error_log $folder/error.log warn; $user
events { worker_connections 8192; }
http {
  client_body_temp_path $folder/body; proxy_temp_path $folder/proxy; fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi; scgi_temp_path $folder/scgi;
  log_format polls '$$msec $$uri';
  access_log $polls_log;
  keepalive_requests 1000000000; keepalive_timeout 300s; default_type application/json;
  open_file_cache off;

  split_clients $$request_id $$varies { $share* 0; }
  map $$msec $$fraction { "~(?<tail>\\d\\d\\.\\d\\d\\d)$$" $$tail; }
  map $$varies $$power { 1 70$$fraction; 0 7107.0; }
  map $$varies $$current { 1 1$$fraction; 0 10.3; }
  map "$$time_iso8601 $$msec" $$now { "~^(?<seconds>[^+]+).*\\.(?<ms>\\d\\d\\d)$$" "$${seconds}.$${ms}Z"; }

  server {
    listen $host:$stub_port;
    location = /polls { access_log off; stub_status; }
  }
  server {
    listen $host:$port ssl backlog=4096; server_name localhost;
    ssl_certificate $cert; ssl_certificate_key $key; ssl_protocols TLSv1.2 TLSv1.3;
    location ~ "^/edgedevices/[^/]+/evses/(?<u>[0-9a-f](?<rest>[0-9a-f]{30}(?<group>[0-9a-f])))/status$$" {
      $faults
      return 200 '[{"time":"$$now","plug_uuid":"a$$rest","plug_label":"Plug 1","evse_uuid":"$$u","status":"idle","current_l1":0,"current_l2":0,"current_l3":0,"power":0,"dyn_current_limit":6},{"time":"$$now","plug_uuid":"b$$rest","plug_label":"Plug 2","evse_uuid":"$$u","status":"charging","current_l1":$$current,"current_l2":$$current,"current_l3":$$current,"power":$$power,"dyn_current_limit":12}]';
    }
    location / { return 404; }
  }
}
""")  # noqa: E501  # nginx cannot break a literal


class StationFault(StrEnum):
    """A fault of nginx for a group of stations; the value is the directive."""

    SERVER_ERROR = "return 500"
    WEB_PAGE = "return 200 '<html>down for maintenance</html>'"
    TRUNCATED = """return 200 '[{"time":"$now","plug_uu'"""
    UNAUTHORIZED = """return 401 '{"message":"unauthorized"}'"""
    NOT_FOUND = """return 404 '{"message":"not found"}'"""
    CLOSED = "return 444"


def uuid_of(number: int) -> str:
    """Return the uuid of station `number`; 16 consecutive numbers differ in the last digit."""
    return f"{number:032x}"


def plugs_of(uuid: str) -> tuple[str, str]:
    """Return the plug uuids of a station."""
    return "a" + uuid[1:], "b" + uuid[1:]


class Cloud:
    """An nginx that keeps its ports; use it as a context manager.

    Args:
        folder: Folder for its configuration, certificates and logs.
        changing: Share of responses that differ from the previous one of the same station, from 0 to 1.
        log: Write the time and path of each poll to `polls_log`, and allow faults of stations.
    """

    def __init__(self, folder: Path, *, changing: float, log: bool = False) -> None:
        folder.mkdir(parents=True)
        authority = Authority(folder / "ca", "benchmark CA")
        self.ca_file = authority.ca_file
        self.polls_log = folder / "polls.log"
        self._certificate = authority.issue()
        self._folder = folder
        self._changing = changing
        self._log = log
        self._port, self._stub_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._counts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The value for `cloud.base_url`."""
        return f"https://localhost:{self._port}"

    def context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts this server."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def start(self) -> None:
        """Start listening."""
        config = self._folder / "nginx.conf"
        config.write_text(self._text())
        self._counts = 0
        self._process = process = subprocess.Popen(
            pin([_nginx(), "-p", self._folder, "-e", self._folder / "error.log", "-c", config]),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC"},
        )

        def exit_reason() -> str | None:
            return f"nginx exited: {(self._folder / 'error.log').read_text()}" if process.poll() is not None else None

        try:
            wait_until_listening(self._port, exit_reason)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def polls(self) -> int:
        """Return the number of polls since the start."""
        return self._totals()[1]

    def connections(self) -> int:
        """Return the number of connections that were opened since the start, including closed ones."""
        return self._totals()[0]

    def _totals(self) -> tuple[int, int]:
        """Return the numbers of connections and polls since the start."""
        with urllib.request.urlopen(f"http://{HOST}:{self._stub_port}/polls", timeout=5) as answer:
            accepted, _, requests = answer.read().split(b"requests")[1].split()[:3]
        self._counts += 1  # nginx counts this request, and its connection, too
        return int(accepted) - self._counts, int(requests) - self._counts

    def start_fault(self, fault: StationFault, group: str) -> None:
        """Start a fault for the stations whose uuid ends in `group`, a hex digit."""
        self._flag(fault, group).touch()

    def end_fault(self, fault: StationFault, group: str) -> None:
        """End a fault, so that these stations get responses again."""
        self._flag(fault, group).unlink()

    def _flag(self, fault: StationFault, group: str) -> Path:
        return self._folder / f"{fault.name}-{group}"

    def _text(self) -> str:
        # If a share p of the responses has new values, 1 - (1 - p)^2 of them differ from the previous response.
        varying = 1 - (1 - self._changing) ** 0.5
        faults = [f"if (-f {self._folder}/{kind.name}-$group) {{ {kind.value}; }}" for kind in StationFault]
        return _CONFIG.substitute(
            folder=self._folder,
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            host=HOST,
            port=self._port,
            stub_port=self._stub_port,
            cert=self._certificate.cert_file,
            key=self._certificate.key_file,
            share=f"{varying * 100:.2f}% 1; " if varying else "",
            polls_log=f"{self.polls_log} polls buffer=64k flush=1s" if self._log else "off",
            faults="\n      ".join(faults) if self._log else "",
        )


def _nginx() -> str:
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise SystemExit("the benchmarks need nginx; `make bench` installs it with apt")
    return path
