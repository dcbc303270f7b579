"""The status page: one HTML document without external resources, assembled when the bridge starts.

The script and the style are embedded, and the content security policy allows only these two, by their hashes. The texts
of reasons, the meanings of statuses and the lists of topics come from the tables that the bridge itself uses.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib import resources

from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS, WAITING_TEXT
from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS, STATION_FIELDS, Field
from evse_mqtt_bridge.web.headers import content_security_policy

__all__ = ["Document", "document"]


@dataclass(frozen=True, slots=True)
class Document:
    """The HTML of the page and its content security policy."""

    html: bytes = field(repr=False)
    policy: str


def document() -> Document:
    """Return the page, assembled from its four files and the tables."""
    script, style = _file("page.js").replace("/*history*/", _file("history.js").strip(), 1), _file("page.css")
    html = _file("index.html")
    for marker, text in (("/*style*/", style), ("/*script*/", script), ("/*tables*/", _tables())):
        html = html.replace(marker, text, 1)
    return Document(html.encode(), content_security_policy(_hash(script), _hash(style)))


def _file(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _tables() -> str:
    """Return topics, reasons and statuses as JSON that is safe inside of a script element."""
    tables = {
        "reasons": REASON_TEXTS,
        "waiting": WAITING_TEXT,
        "statuses": {status: asdict(meaning) for status, meaning in STATUSES.items()},
        "plug": list(map(_topic_row, PLUG_FIELDS)),
        "station": list(map(_topic_row, STATION_FIELDS)),
    }
    return json.dumps(tables, default=dict, separators=(",", ":")).replace("<", "\\u003c")


def _topic_row(topic: Field) -> tuple[str, str, str]:
    return topic.name, topic.unit, topic.description.replace("`", "")
