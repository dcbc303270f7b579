"""Wrong configurations: exit code 78 and one line with the position, without a traceback or the value of a secret."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.load import load
from evse_mqtt_bridge.support.errors import ConfigError
from tests.harness.bridge import run_command

SECRET = "canary-2f1c"  # must not appear in any output

MQTT = """\
[mqtt]
host = "localhost"
"""
STATION = f"""\
[[stations]]
edge_device_id = "1"
uuid = "a"
token = "{SECRET}"
"""
FLEET = '[fleet]\nengine = "static"\nshare = "0"\n'
GOOD = MQTT + STATION
SECOND = STATION.replace('"a"', '"b"')
NO_TOKEN = MQTT + '[[stations]]\nedge_device_id = "1"\nuuid = "a"\n'
FROM_FILE = NO_TOKEN + 'token_file = "t"\n'

ID_TEXT = "1 to 64 of the characters A-Z a-z 0-9 _ -"
ALIAS_TEXT = "1 to 64 letters, digits, _ or - (it becomes one topic level)"
TOKEN_TEXT = "1 to 4096 visible ASCII characters, no spaces (it is sent in a header)"
TOPIC_TEXT = (
    'one to four topic levels such as "evse" or "site/evse", without + or #, without a slash at either end, '
    "at most 200 characters"
)
URL_TEXT = 'a URL such as "https://cloud.example.com:3032", without a user name or password'
HOST_TEXT = 'a host name or IP address, without "mqtt://" or "http://" and without a port'


@dataclass(frozen=True)
class Wrong:
    """A wrong configuration.

    Attributes:
        name: The id of the test.
        content: The content of config.toml.
        error: The expected error; FOLDER represents the folder of config.toml.
        environ: Environment variables.
        files: Further files in the folder, by name.
    """

    name: str
    content: str | bytes
    error: str
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def env(**settings: str) -> dict[str, str]:
    return {f"EVSE_MQTT_BRIDGE__{name}": value for name, value in settings.items()}


TABLE = [
    # the text itself
    Wrong(
        "not-toml",
        "[mqtt\nhost = 1\n",
        "config.toml:1: is not valid TOML: Expected ']' at the end of a table declaration (column 6)",
    ),
    Wrong("unfinished", 'x = "', "config.toml:1: is not valid TOML: Unterminated string"),
    Wrong(
        "a-key-twice",
        MQTT + 'host = "b"\n',
        "config.toml:3: is not valid TOML: Cannot overwrite a value; a key or table is defined twice (column 11)",
    ),
    Wrong(
        "an-address-without-quotes",
        "[mqtt]\nhost = 127.0.0.1\n",
        "config.toml:2: is not valid TOML: Expected newline or end of document after a statement; put text in double "
        "quotes, and write a number with a point and without a unit (column 13)",
    ),
    Wrong(
        "a-table-on-several-lines",
        MQTT + 'tls = {\n  ca_file = "ca.pem",\n}\n',
        "config.toml:3: is not valid TOML: Invalid initial character for a key part; write a table in { } on one line, "
        "without a comma at its end (column 8)",
    ),
    Wrong("not-utf-8", MQTT.encode() + b'username = "\xff"\n', "config.toml:3: is not UTF-8 text"),
    Wrong("utf-16", GOOD.encode("utf-16"), "config.toml:1: is not UTF-8 text"),
    Wrong("nested-too-deeply", "x = " + "[" * 100_000, "config.toml: is nested too deeply"),
    Wrong(
        "a-number-of-5000-digits", "x = " + "1" * 5000, "config.toml: is not valid TOML: a number has too many digits"
    ),
    Wrong("empty", "", f"config.toml: mqtt.host: is missing; expected {HOST_TEXT}"),
    Wrong("no-host", "[mqtt]\nport = 1883\n", f"config.toml:1: mqtt.host: is missing; expected {HOST_TEXT}"),
    # keys
    Wrong("unknown-key", MQTT + "prot = 1\n", "config.toml:3: mqtt.prot: unknown key; did you mean mqtt.port?"),
    Wrong("unknown-table", MQTT + "[pooling]\n", "config.toml:3: pooling: unknown key; did you mean polling?"),
    Wrong(
        "key-of-another-table",
        MQTT + "timeout = 5\n",
        "config.toml:3: mqtt.timeout: unknown key; did you mean cloud.timeout?",
    ),
    Wrong(
        "key-above-its-table",
        "interval = 5\n" + MQTT,
        "config.toml:1: interval: unknown key; did you mean polling.interval?",
    ),
    Wrong(
        "key-without-similar-key",
        MQTT + "[log]\nzzz = 1\n",
        "config.toml:4: log.zzz: unknown key; known keys: level, format",
    ),
    Wrong(
        "a-key-that-breaks-lines",
        MQTT + '[log]\n"l\\nx\\u001b[31m" = 1\n',
        'config.toml:4: log."l x [31m": unknown key; known keys: level, format',
    ),
    Wrong(
        "unknown-key-of-a-station",
        GOOD + 'tokn = "x"\n',
        "config.toml:7: stations[0].tokn: unknown key; did you mean stations[0].token?",
    ),
    # types and ranges
    Wrong(
        "text-for-a-number",
        MQTT + 'port = "1883"\n',
        "config.toml:3: mqtt.port: expected a whole number from 1 to 65535; remove the quotes",
    ),
    Wrong(
        "text-for-true",
        MQTT + '[http]\nenabled = "true"\n',
        "config.toml:4: http.enabled: expected true or false; remove the quotes",
    ),
    Wrong(
        "text-without-quotes",
        "[mqtt]\nhost = localhost\n",
        "config.toml:2: is not valid TOML: Invalid value; put text in double quotes, and write true and false in "
        "lower case (column 8)",
    ),
    Wrong("port-0", MQTT + "port = 0\n", "config.toml:3: mqtt.port: expected a whole number from 1 to 65535"),
    Wrong(
        "huge-port", MQTT + f"port = {10**30}\n", "config.toml:3: mqtt.port: expected a whole number from 1 to 65535"
    ),
    Wrong("true-for-a-number", MQTT + "qos = true\n", "config.toml:3: mqtt.qos: expected a whole number from 0 to 2"),
    Wrong(
        "number-for-text",
        MQTT + "username = 5\n",
        "config.toml:3: mqtt.username: expected one line of text without control characters, at most 1024 characters; "
        "put text in double quotes",
    ),
    Wrong(
        "nan-for-a-number",
        MQTT + "[polling]\ninterval = nan\n",
        "config.toml:4: polling.interval: expected a number from 1 to 86400",
    ),
    Wrong(
        "table-in-a-table",
        MQTT + "polling.interval = 0.5\n",
        "config.toml:3: mqtt.polling: unknown key; did you mean polling?",
    ),
    Wrong(
        "faster-than-allowed",
        MQTT + "[polling]\ninterval = 0.5\n",
        "config.toml:4: polling.interval: expected a number from 1 to 86400",
    ),
    Wrong("protocol-3", MQTT + 'protocol = "3"\n', 'config.toml:3: mqtt.protocol: expected "auto", "5" or "3.1.1"'),
    Wrong("text-for-a-table", 'mqtt = "localhost"\n', "config.toml:1: mqtt: expected a table, written as [mqtt]"),
    Wrong(
        "table-for-an-array",
        MQTT + "[stations]\n",
        "config.toml:3: stations: expected an array of tables, each written as [[stations]]",
    ),
    Wrong(
        "true-for-a-table", MQTT + "tls = true\n", "config.toml:3: mqtt.tls: expected a table, written as [mqtt.tls]"
    ),
    Wrong(
        "text-for-a-station",
        'stations = ["a"]\n' + MQTT,
        "config.toml:1: stations[0]: expected a table, written as [[stations]]",
    ),
    Wrong(
        "address-for-a-host",
        '[mqtt]\nhost = "mqtt://b:1883"\n',
        f"config.toml:2: mqtt.host: expected {HOST_TEXT}; write its port into mqtt.port",
    ),
    Wrong(
        "encrypted-address-for-a-host",
        '[mqtt]\nhost = "mqtts://b:8883"\n',
        f"config.toml:2: mqtt.host: expected {HOST_TEXT}; write its port into mqtt.port, and add [mqtt.tls]",
    ),
    Wrong(
        "web-socket-address-for-a-host",
        '[mqtt]\nhost = "wss://user:canary@b/mqtt"\n',
        f"config.toml:2: mqtt.host: expected {HOST_TEXT}; write its port into mqtt.port and its path into "
        'mqtt.websocket_path, and set mqtt.transport = "websockets"; and add [mqtt.tls]',
    ),
    Wrong(
        "line-break-in-a-header",
        MQTT + f'websocket_headers = {{ X = "a\\n{SECRET}" }}\n',
        "config.toml:3: mqtt.websocket_headers.X: expected visible ASCII characters and spaces",
    ),
    Wrong(
        "space-in-the-name-of-a-header",
        MQTT + 'websocket_headers = { "a b" = "c" }\n',
        'config.toml:3: mqtt.websocket_headers."a b": expected a key of the name of a header',
    ),
    Wrong(
        "relative-websocket-path",
        MQTT + 'websocket_path = "mqtt"\n',
        "config.toml:3: mqtt.websocket_path: expected a path that starts with /, such as /mqtt, "
        "at most 2048 characters",
    ),
    Wrong(
        "wildcard-in-a-prefix",
        MQTT + 'base_topic = "evse/#"\n',
        f"config.toml:3: mqtt.base_topic: expected {TOPIC_TEXT}",
    ),
    Wrong(
        "password-in-an-address",
        MQTT + f'[cloud]\nbase_url = "https://u:{SECRET}@h"\n',
        'config.toml:4: cloud.base_url: expected a URL such as "https://cloud.example.com:3032", '
        "without a user name or password",
    ),
    Wrong(
        "attribute-in-a-path",
        MQTT + '[cloud]\nstatus_path = "/{uuid.__class__}"\n',
        "config.toml:4: cloud.status_path: expected a path that starts with / and contains {uuid}, "
        "and optionally {edge_device_id}",
    ),
    # stations
    Wrong("no-token", NO_TOKEN, "config.toml:3: stations[0].token: is missing; set token or token_file"),
    Wrong(
        "empty-token",
        NO_TOKEN + 'token = ""\n',
        "config.toml:6: stations[0].token: is missing; set token or token_file",
    ),
    Wrong(
        "two-tokens",
        GOOD + 'token_file = "t"\n',
        "config.toml:7: stations[0].token_file: token is set too; set either token or token_file",
        files={"t": SECRET.encode()},
    ),
    Wrong(
        "line-break-in-a-token",
        GOOD.replace(SECRET, SECRET + "\\r\\nx"),
        f"config.toml:6: stations[0].token: expected {TOKEN_TEXT}",
    ),
    Wrong(
        "umlaut-in-a-token",
        GOOD.replace(SECRET, SECRET + "ä"),
        f"config.toml:6: stations[0].token: expected {TOKEN_TEXT}",
    ),
    Wrong(
        "number-for-a-token",
        GOOD.replace(f'"{SECRET}"', "7391"),
        f"config.toml:6: stations[0].token: expected {TOKEN_TEXT}; put text in double quotes",
    ),
    Wrong("slash-in-a-uuid", GOOD.replace('"a"', '"a/b"'), f"config.toml:5: stations[0].uuid: expected {ID_TEXT}"),
    Wrong("slash-in-an-alias", GOOD + 'alias = "a/b"\n', f"config.toml:7: stations[0].alias: expected {ALIAS_TEXT}"),
    Wrong("plus-in-an-alias", GOOD + 'alias = "+"\n', f"config.toml:7: stations[0].alias: expected {ALIAS_TEXT}"),
    Wrong(
        "plug-alias-of-a-station-topic",
        GOOD + 'plugs = { p = "info" }\n',
        "config.toml:7: stations[0].plugs.p: cannot be info, availability_reason or availability, "
        "which are topics of the station itself",
    ),
    Wrong(
        "alias-bridge",
        GOOD + 'alias = "bridge"\n',
        'config.toml:7: stations[0].alias: cannot be "bridge", which is the topic level of the bridge itself',
    ),
    Wrong(
        "uuid-bridge",
        GOOD.replace('"a"', '"bridge"'),
        'config.toml:5: stations[0].uuid: cannot be "bridge", which is the topic level of the bridge itself',
    ),
    Wrong("station-twice", GOOD + STATION, "config.toml:9: stations[1].uuid: is already the uuid of stations[0]"),
    Wrong(
        "alias-twice",
        GOOD + 'alias = "x"\n' + SECOND + 'alias = "x"\n',
        "config.toml:12: stations[1].alias: is already the topic level of stations[0]",
    ),
    Wrong(
        "alias-is-a-uuid",
        GOOD + SECOND + 'alias = "a"\n',
        "config.toml:11: stations[1].alias: is already the topic level of stations[0]",
    ),
    Wrong(
        "plug-alias-twice",
        GOOD + '[stations.plugs]\np = "x"\nq = "x"\n',
        "config.toml:9: stations[0].plugs.q: is already the alias of plug p",
    ),
    Wrong(
        "plug-alias-is-a-plug",
        GOOD + 'plugs = { p = "q", q = "q" }\n',
        "config.toml:7: stations[0].plugs.q: is already the alias of plug p",
    ),
    Wrong(
        "slash-in-a-plug-alias",
        GOOD + 'plugs.p = "x/y"\n',
        f"config.toml:7: stations[0].plugs.p: expected {ALIAS_TEXT}",
    ),
    Wrong(
        "slash-in-a-plug-uuid",
        GOOD + 'plugs = { "p/q" = "x" }\n',
        f'config.toml:7: stations[0].plugs."p/q": expected a key of {ID_TEXT}',
    ),
    Wrong(
        "slower-than-stale",
        GOOD + "interval = 1200\n",
        "config.toml:7: stations[0].interval: must be less than polling.stale_after, which is 1200",
    ),
    # keys that need each other
    Wrong(
        "all-slower-than-stale",
        MQTT + "[polling]\ninterval = 60\nstale_after = 60\n",
        "config.toml:4: polling.interval: must be less than polling.stale_after, which is 60",
    ),
    Wrong(
        "stale-at-once",
        MQTT + "[polling]\nstale_after = 10\n",
        "config.toml:4: polling.stale_after: must be more than polling.interval, which is 30, or 0 for no limit",
    ),
    Wrong(
        "password-without-username",
        MQTT + f'password = "{SECRET}"\n',
        "config.toml:3: mqtt.password: requires mqtt.username; set it as well",
    ),
    Wrong(
        "two-passwords",
        MQTT + f'username = "u"\npassword = "{SECRET}"\npassword_file = "p"\n',
        "config.toml:5: mqtt.password_file: password is set too; set either password or password_file",
        files={"p": b"x"},
    ),
    Wrong(
        "key-without-certificate",
        MQTT + '[mqtt.tls]\nkey_file = "k"\n',
        "config.toml:4: mqtt.tls.key_file: requires mqtt.tls.cert_file; set it as well",
        files={"k": b""},
    ),
    # files
    Wrong(
        "no-token-file",
        FROM_FILE,
        "config.toml:6: stations[0].token_file: FOLDER/t cannot be read: No such file or directory",
    ),
    Wrong(
        "token-file-is-a-folder",
        NO_TOKEN + 'token_file = "."\n',
        "config.toml:6: stations[0].token_file: FOLDER cannot be read: Is a directory",
    ),
    Wrong(
        "token-file-not-utf-8",
        FROM_FILE,
        "config.toml:6: stations[0].token_file: FOLDER/t is not UTF-8 text",
        files={"t": SECRET.encode() + b"\xff"},
    ),
    Wrong(
        "token-file-with-two-lines",
        FROM_FILE,
        f"config.toml:6: stations[0].token_file: FOLDER/t: expected {TOKEN_TEXT}",
        files={"t": f"{SECRET}\n\n".encode()},
    ),
    Wrong(
        "token-file-empty",
        FROM_FILE,
        "config.toml:6: stations[0].token_file: FOLDER/t is empty; it must contain the secret",
        files={"t": b"\n"},
    ),
    Wrong(
        "token-file-huge",
        FROM_FILE,
        "config.toml:6: stations[0].token_file: FOLDER/t is larger than 64 KiB; it must contain only the secret",
        files={"t": b"x" * 65_537},
    ),
    Wrong(
        "token-file-with-nul",
        NO_TOKEN + 'token_file = "t\\u0000"\n',
        "config.toml:6: stations[0].token_file: expected a file path",
    ),
    Wrong(
        "number-for-a-file",
        NO_TOKEN + "token_file = 5\n",
        "config.toml:6: stations[0].token_file: expected a file path; put text in double quotes",
    ),
    Wrong(
        "no-ca",
        MQTT + '[mqtt.tls]\nca_file = "ca.pem"\n',
        "config.toml:4: mqtt.tls.ca_file: FOLDER/ca.pem cannot be read: No such file or directory",
    ),
    Wrong(
        "no-cloud-ca",
        MQTT + '[cloud]\nca_file = "ca.pem"\n',
        "config.toml:4: cloud.ca_file: FOLDER/ca.pem cannot be read: No such file or directory",
    ),
    # the environment
    Wrong(
        "unknown-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__MQTT__HOTS: unknown variable; did you mean EVSE_MQTT_BRIDGE__MQTT__HOST?",
        env(MQTT__HOTS=SECRET),
    ),
    Wrong(
        "unknown-station-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS__0__TOKN: unknown variable; did you mean EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN?",
        env(STATIONS__0__TOKN=SECRET),
    ),
    Wrong(
        "plug-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS__0__PLUGS__P: unknown variable; did you mean EVSE_MQTT_BRIDGE__STATIONS__0__PLUGS?",
        env(STATIONS__0__PLUGS__P="x"),
    ),
    Wrong(
        "word-for-a-number-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__POLLING__INTERVAL: polling.interval: expected a number from 1 to 86400",
        env(POLLING__INTERVAL="soon"),
    ),
    Wrong(
        "range-of-a-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__MQTT__PORT: mqtt.port: expected a whole number from 1 to 65535",
        env(MQTT__PORT="70000"),
    ),
    Wrong(
        "yes-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__HOMEASSISTANT__ENABLED: homeassistant.enabled: expected true or false",
        env(HOMEASSISTANT__ENABLED="yes"),
    ),
    Wrong(
        "empty-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__MQTT__PORT: mqtt.port: expected a whole number from 1 to 65535",
        env(MQTT__PORT=""),
    ),
    Wrong(
        "token-variable",
        GOOD,
        f"EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN: stations[0].token: expected {TOKEN_TEXT}",
        env(STATIONS__0__TOKEN=f"{SECRET} x"),
    ),
    Wrong(
        "broken-json-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS: stations: expected a JSON array of objects",
        env(STATIONS=f'[{{"token": "{SECRET}"'),
    ),
    Wrong(
        "a-variable-that-is-not-utf-8",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS__0__NAME: stations[0].name: is not UTF-8 text",
        env(STATIONS__0__NAME="M\udcfcnchen"),
    ),
    Wrong(
        "invisible-character-in-a-host",
        GOOD + '[cloud]\nbase_url = "https://cloud\\u200b.example.com"\n',
        'config.toml:8: cloud.base_url: expected a URL such as "https://cloud.example.com:3032", '
        "without a user name or password",
    ),
    Wrong(
        "a-json-key-twice",
        GOOD,
        "EVSE_MQTT_BRIDGE__MQTT__TLS: mqtt.tls: expected a JSON object",
        env(MQTT__TLS='{"ca_file": "", "ca_file": ""}'),
    ),
    Wrong(
        "error-in-json-variable",
        GOOD,
        f"EVSE_MQTT_BRIDGE__STATIONS: stations[0].uuid: expected {ID_TEXT}",
        env(STATIONS=f'[{{"edge_device_id": "1", "uuid": "+", "token": "{SECRET}"}}]'),
    ),
    Wrong(
        "gap-in-station-variables",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS__2__TOKEN: stations[2].token: stations are numbered from 0, without gaps",
        env(STATIONS__2__TOKEN=SECRET),
    ),
    Wrong(
        "incomplete-station-in-variables",
        GOOD,
        f"EVSE_MQTT_BRIDGE__STATIONS__1__EDGE_DEVICE_ID: stations[1].edge_device_id: is missing; expected {ID_TEXT}",
        env(STATIONS__1__UUID="b", STATIONS__1__TOKEN=SECRET),
    ),
    Wrong(
        "two-token-variables",
        GOOD,
        "EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN_FILE: stations[0].token_file: token is set too; set "
        "either token or token_file",
        env(STATIONS__0__TOKEN=SECRET, STATIONS__0__TOKEN_FILE="t"),
        files={"t": b"x"},
    ),
    Wrong(
        "a-variable-twice",
        GOOD,
        "evse_mqtt_bridge__mqtt__host: mqtt.host: is also set by EVSE_MQTT_BRIDGE__MQTT__HOST; keep only one of them",
        {**env(MQTT__HOST="a"), "evse_mqtt_bridge__mqtt__host": "b"},
    ),
    Wrong(
        "contradicting-variable",
        GOOD,
        "EVSE_MQTT_BRIDGE__POLLING__INTERVAL: polling.interval: must be less than polling.stale_after, which is 1200",
        env(POLLING__INTERVAL="1200"),
    ),
    Wrong(
        "fleet-without-engine",
        GOOD + "[fleet]\n",
        'config.toml:7: fleet.engine: is missing; expected "etcd", "kubernetes" or "static"',
    ),
    Wrong(
        "fleet-without-share",
        GOOD + '[fleet]\nengine = "static"\n',
        'config.toml:7: fleet.share: must be shards such as "0-7" or "0, 2, 4", or a part such as "0/2"',
    ),
    Wrong(
        "fleet-with-too-many-shards",
        GOOD + '[fleet]\nengine = "static"\nshards = 65\nshare = "0"\n',
        "config.toml:9: fleet.shards: expected a whole number from 1 to 64",
    ),
    Wrong(
        "fleet-with-a-text-as-endpoints",
        GOOD + '[fleet]\nengine = "static"\nshare = "0"\nendpoints = "https://a:2379"\n',
        f"config.toml:10: fleet.endpoints: expected an array of strings, each {URL_TEXT}",
    ),
    Wrong(
        "fleet-with-a-wrong-endpoint",
        GOOD + '[fleet]\nengine = "static"\nshare = "0"\nendpoints = ["https://a:2379", "b:2379"]\n',
        f"config.toml:10: fleet.endpoints[1]: expected {URL_TEXT}",
    ),
    Wrong(
        "fleet-with-a-wrong-endpoint-variable",
        GOOD + FLEET,
        f"EVSE_MQTT_BRIDGE__FLEET__ENDPOINTS: fleet.endpoints: expected JSON: an array of strings, each {URL_TEXT}",
        env(FLEET__ENDPOINTS="https://a:2379"),
    ),
    Wrong(
        "fleet-with-a-missing-password-file",
        GOOD + FLEET + 'username = "u"\npassword_file = "etcd.password"\n',
        "config.toml:11: fleet.password_file: FOLDER/etcd.password cannot be read: No such file or directory",
    ),
    Wrong(
        "fleet-with-a-wrong-ca",
        GOOD + FLEET + 'endpoints = ["https://a"]\n[fleet.tls]\nca_file = "missing.pem"\n',
        "config.toml:12: fleet.tls.ca_file: FOLDER/missing.pem cannot be read: No such file or directory",
    ),
    Wrong(
        "fleet-with-tls-and-without-https",
        GOOD + FLEET + 'endpoints = ["http://a:2379"]\n[fleet.tls]\n',
        "config.toml:11: fleet.tls: requires an endpoint with https://",
    ),
    Wrong(
        "fleet-with-qos-2",
        MQTT + "qos = 2\n" + STATION + FLEET,
        "config.toml:3: mqtt.qos: must be 0 or 1 with [fleet], as shards continue the sessions of other members",
    ),
    Wrong(
        "fleet-with-mqtt-3",
        MQTT + 'protocol = "3.1.1"\n' + STATION + FLEET,
        'config.toml:3: mqtt.protocol: must be "5" or "auto" with [fleet], as only MQTT 5 delays the will',
    ),
    Wrong(
        "fleet-with-long-client-id",
        MQTT + f'client_id = "{"c" * 126}"\n' + STATION + FLEET,
        "config.toml:3: mqtt.client_id: must have at most 125 characters with [fleet], as shards append their number",
    ),
]


@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
def test_check_with_wrong_configuration_prints_one_line(
    wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = wrong.content.encode() if isinstance(wrong.content, str) else wrong.content
    Path(tmp_path / "config.toml").write_bytes(content)
    for name, file_content in wrong.files.items():
        (tmp_path / name).write_bytes(file_content)
    for name in [name for name in os.environ if name.startswith("EVSE_MQTT_BRIDGE")]:
        monkeypatch.delenv(name)
    for name, value in wrong.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(cli, ["check"])

    assert result.stderr == wrong.error.replace("FOLDER", str(tmp_path)) + "\n"
    assert result.exit_code == 78
    assert SECRET not in result.output
    with pytest.raises(ConfigError) as caught:
        load(Path("config.toml"), wrong.environ)
    assert SECRET not in repr(caught.value) + repr(caught.value.problems)


def test_load_of_unchanged_base_configuration_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    assert load(path, {}).config.stations[0].token.get_secret_value() == SECRET


def test_load_reports_all_errors_in_order_of_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[log]\nlevel = "loud"\n' + MQTT + "qos = 3\nx = 1\n" + '[[stations]]\nuuid = "a b"\ntoken_file = "t"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(path, env(CLOUD__TIMEOUT="0"))
    assert [(problem.source, problem.line, problem.key) for problem in caught.value.problems] == [
        ("EVSE_MQTT_BRIDGE__CLOUD__TIMEOUT", None, "cloud.timeout"),
        (str(path), 2, "log.level"),
        (str(path), 5, "mqtt.qos"),
        (str(path), 6, "mqtt.x"),
        (str(path), 7, "stations[0].edge_device_id"),
        (str(path), 8, "stations[0].uuid"),
        (str(path), 9, "stations[0].token_file"),
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (
            "nowhere.toml",
            "no such file; create it with `evse-mqtt-bridge init`",
        ),
        ("folder", "is a directory, not a configuration file"),
        ("file/config.toml", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_run_with_unusable_file_exits_with_reason(name: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    result = run_command("run", "--config", name, cwd=tmp_path, env=env(MQTT__HOST="localhost"))
    assert (result.returncode, result.stdout, result.stderr) == (78, "", f"{name}: {error}\n")


def test_line_break_in_file_name_is_escaped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "a\nb", {})
    assert len(str(caught.value).splitlines()) == 1
