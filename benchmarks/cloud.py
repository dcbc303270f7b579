"""nginx as the vendor's API: any number of stations over TLS, a chosen share of which have something new to tell.

Each station has two plugs. An answer is made of the address that was asked, so that stations cost nothing. `time` is
nginx's own, to the millisecond, from which latency is measured. The last hex digit of a station's uuid puts it into one
of 16 groups, which can be given a trouble while all of it runs.
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

from benchmarks.machine import pinned
from tests.harness.certificates import Authority
from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["Cloud", "DisconnectReason", "plugs_of", "uuid_of"]

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

  split_clients $$request_id $$moves { $share* 0; }
  map $$msec $$fraction { "~(?<tail>\\d\\d\\.\\d\\d\\d)$$" $$tail; }
  map $$moves $$power { 1 70$$fraction; 0 7107.0; }
  map $$moves $$current { 1 1$$fraction; 0 10.3; }
  map "$$time_iso8601 $$msec" $$now { "~^(?<seconds>[^+]+).*\\.(?<ms>\\d\\d\\d)$$" "$${seconds}.$${ms}Z"; }

  server {
    listen $host:$stub_port;
    location = /polls { access_log off; stub_status; }
  }
  server {
    listen $host:$port ssl backlog=4096; server_name localhost;
    ssl_certificate $cert; ssl_certificate_key $key; ssl_protocols TLSv1.2 TLSv1.3;
    location ~ "^/edgedevices/[^/]+/evses/(?<u>[0-9a-f](?<rest>[0-9a-f]{30}(?<group>[0-9a-f])))/status$$" {
      $troubles
      return 200 '[{"time":"$$now","plug_uuid":"a$$rest","plug_label":"Plug 1","evse_uuid":"$$u","status":"idle","current_l1":0,"current_l2":0,"current_l3":0,"power":0,"dyn_current_limit":6},{"time":"$$now","plug_uuid":"b$$rest","plug_label":"Plug 2","evse_uuid":"$$u","status":"charging","current_l1":$$current,"current_l2":$$current,"current_l3":$$current,"power":$$power,"dyn_current_limit":12}]';
    }
    location / { return 404; }
  }
}
""")  # noqa: E501  # nginx cannot break a literal


class DisconnectReason(StrEnum):
    """What a group of stations can be given instead of an answer; the value is what nginx does."""

    SERVER_ERROR = "return 500"
    WEB_PAGE = "return 200 '<html>down for maintenance</html>'"
    CUT_OFF = """return 200 '[{"time":"$now","plug_uu'"""
    UNAUTHORIZED = "return 401"
    NOT_FOUND = "return 404"
    CLOSED = "return 444"


def uuid_of(number: int) -> str:
    """The uuid of a station of the benchmarks; groups of 16 in a row differ in their last digit."""
    return f"{number:032x}"


def plugs_of(uuid: str) -> tuple[str, str]:
    """The plug uuids of a station."""
    return "a" + uuid[1:], "b" + uuid[1:]


class Cloud:
    """A running nginx as long as its context is entered, always on the same ports.

    A share `changing` (0 to 1) of a station's answers differs from the one before. `log` writes the time and address of
    each poll to `polls_log`, and lets stations be given troubles.
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
        """What goes into `cloud.base_url`."""
        return f"https://localhost:{self._port}"

    def context(self) -> ssl.SSLContext:
        """A context that trusts this cloud."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def start(self) -> None:
        """Listen; after `stop` again."""
        config = self._folder / "nginx.conf"
        config.write_text(self._text())
        self._counts = 0
        self._process = process = subprocess.Popen(
            pinned([_nginx(), "-p", self._folder, "-e", self._folder / "error.log", "-c", config]),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC"},
        )

        def gone() -> str | None:
            return f"nginx ended: {(self._folder / 'error.log').read_text()}" if process.poll() is not None else None

        try:
            wait_until_listening(self._port, gone)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection, and refuse those that come."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def polls(self) -> int:
        """Polls since the start."""
        with urllib.request.urlopen(f"http://{HOST}:{self._stub_port}/polls", timeout=5) as answer:
            numbers = answer.read().split(b"requests")[1].split()
        self._counts += 1  # it counts being asked, too
        return int(numbers[2]) - self._counts

    def give(self, trouble: DisconnectReason, group: str) -> None:
        """Stations whose uuid ends in `group`, a hex digit, get this from now on."""
        self._flag(trouble, group).touch()

    def mend(self, trouble: DisconnectReason, group: str) -> None:
        """These stations get answers again."""
        self._flag(trouble, group).unlink()

    def _flag(self, trouble: DisconnectReason, group: str) -> Path:
        return self._folder / f"{trouble.name}-{group}"

    def _text(self) -> str:
        # Two answers in a row differ unless neither moves: 1 - (1 - p)^2 of them, for a share p that moves.
        moving = 1 - (1 - self._changing) ** 0.5
        troubles = [f"if (-f {self._folder}/{kind.name}-$group) {{ {kind.value}; }}" for kind in DisconnectReason]
        return _CONFIG.substitute(
            folder=self._folder,
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            host=HOST,
            port=self._port,
            stub_port=self._stub_port,
            cert=self._certificate.cert_file,
            key=self._certificate.key_file,
            share=f"{moving * 100:.2f}% 1; " if moving else "",
            polls_log=f"{self.polls_log} polls buffer=64k flush=1s" if self._log else "off",
            troubles="\n      ".join(troubles) if self._log else "",
        )


def _nginx() -> str:
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise SystemExit("the benchmarks need nginx: `make bench` installs it where apt is there")
    return path
