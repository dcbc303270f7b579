"""The TOML examples, command lines and links on all pages are valid."""

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
    """Return the name and the text of every fenced block in a language."""
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        )
    ]


def _commands() -> list[str]:
    """Return the commands in indented blocks, with continuation lines joined and comments removed."""
    text = "\n".join(page.read_text() for page in PAGES)
    text = re.sub(r" *\\\n *", " ", text)
    lines = re.findall(r"^    (?:/\S*/)?evse-mqtt-bridge ([^\n#]*)", text, re.MULTILINE)
    return sorted({re.sub(r"\s+", " ", line).split(" > ")[0].strip() for line in lines})


@pytest.mark.parametrize("block", [block for _, block in _blocks("toml")], ids=[name for name, _ in _blocks("toml")])
def test_toml_block_is_a_valid_configuration(tmp_path: Path, block: str, authority: Authority) -> None:
    # Create the files that the example names, in the same folder.
    client = authority.issue("example")
    content = {"ca_file": authority.ca_file, "cert_file": client.cert_file, "key_file": client.key_file}
    for key, path in re.findall(r'^(\w+_file) = "(.+)"$', block, re.MULTILINE):
        file = tmp_path / Path(path).name
        file.write_text(content[key].read_text() if key in content else "secret\n")
        block = block.replace(path, file.name)
    if "[mqtt]" not in block:
        block = f'[mqtt]\nhost = "localhost"\n{block}' if block.lstrip().startswith("[") else block
    parse(block, tmp_path / "config.toml", {})


@pytest.mark.parametrize("line", _commands())
def test_documented_command_and_options_exist(line: str) -> None:
    command: click.Command = cli
    arguments = shlex.split(line)
    context = click.Context(cli)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        subcommand = command.get_command(context, arguments.pop(0))
        assert subcommand is not None, f"no such command: {line}"
        command = subcommand
    options = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
    known = options | {"--help", "-h", "--version"}
    assert {argument.split("=")[0] for argument in arguments if argument.startswith("-")} <= known


def test_pages_have_examples() -> None:
    assert len(_blocks("toml")) >= 3
    assert len(_commands()) >= 8


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_between_pages_lead_to_headings(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve()
        assert linked.exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {link}"
