"""Every TOML block and every command line in the documents is true."""

import re
import shlex
from pathlib import Path

import click
import pytest

from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.load import parse
from tests.harness import Authority

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        )
    ]


def _commands() -> list[str]:
    """Command lines in indented blocks, with continuation lines joined and comments cut."""
    text = "\n".join(page.read_text() for page in PAGES)
    text = re.sub(r" *\\\n *", " ", text)
    lines = re.findall(r"^    (?:/\S*/)?evse-mqtt-bridge ([^\n#]*)", text, re.MULTILINE)
    return sorted({re.sub(r"\s+", " ", line).split(" > ")[0].strip() for line in lines})


@pytest.mark.parametrize("block", [block for _, block in _blocks("toml")], ids=[name for name, _ in _blocks("toml")])
def test_toml_block_is_a_configuration_or_a_part_of_one(tmp_path: Path, block: str, authority: Authority) -> None:
    # Files that an example names are made here, whatever their folder.
    own = authority.issue("example")
    content = {"ca_file": authority.ca_file, "cert_file": own.cert_file, "key_file": own.key_file}
    for key, path in re.findall(r'^(\w+_file) = "(.+)"$', block, re.MULTILINE):
        file = tmp_path / Path(path).name
        file.write_text(content[key].read_text() if key in content else "secret\n")
        block = block.replace(path, file.name)
    if "[mqtt]" not in block:
        block = f'[mqtt]\nhost = "localhost"\n{block}' if block.lstrip().startswith("[") else block
    parse(block, tmp_path / "config.toml", {})


@pytest.mark.parametrize("line", _commands())
def test_command_line_exists(line: str) -> None:
    command: click.Command = cli
    words = shlex.split(line)
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, f"no such command: {line}"
        command = found
    options = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
    known = options | {"--help", "-h", "--version"}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known


def test_something_is_tested() -> None:
    assert len(_blocks("toml")) >= 3
    assert len(_commands()) >= 8


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve()
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"
