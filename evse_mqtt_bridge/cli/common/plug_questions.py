"""Gets names and aliases of the plugs of a station: from options, else from prompts that propose an alias."""

from collections import Counter
from collections.abc import Mapping, Sequence

import click

from evse_mqtt_bridge.cli.common.prompts import Prompter, Question
from evse_mqtt_bridge.config.checks import plug_alias_error
from evse_mqtt_bridge.config.schema_index import EACH
from evse_mqtt_bridge.domain.identifiers import suggest_alias
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.support.text import clean

__all__ = ["ask_plugs"]


def ask_plugs(
    prompter: Prompter, plugs: Sequence[PlugReading], aliases: Mapping[str, str], names: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the aliases and the display names of the plugs of a station, by uuid. Without a terminal, the given ones.

    Args:
        prompter: Prompts for what is not given.
        plugs: The plugs, as the cloud reports them.
        aliases: Aliases given as options, which may be those of other plugs.
        names: Display names given as options.
    """
    all_aliases, all_names = dict(aliases), dict(names)
    if prompter.is_interactive and not {plug.plug_uuid for plug in plugs} <= aliases.keys() & names.keys():
        click.echo("A name replaces the label of a plug, and an alias replaces its UUID in topics.")
    labels = Counter(plug.label for plug in plugs)
    for plug in plugs:
        uuid = plug.plug_uuid
        title = clean(plug.label) if plug.label and labels[plug.label] == 1 else f"plug {uuid}"
        if uuid not in names:
            if_empty = "the label" if plug.label else "none"
            path = ("stations", EACH, "plug_names", uuid)
            name = prompter.text(Question(f"Name of {title}", "the name", path, default="", if_empty=if_empty))
            if name:
                all_names[uuid] = name
        if uuid not in aliases:
            proposal = suggest_alias(all_names.get(uuid) or plug.label or "")
            alias = prompter.text(
                Question(f"Alias of {title}", "the alias", ("stations", EACH, "plugs", uuid), default=""),
                proposal="" if plug_alias_error(proposal, all_aliases) else proposal,
                conflict=lambda typed: plug_alias_error(typed, all_aliases),
            )
            if alias:
                all_aliases[uuid] = alias
    return all_aliases, all_names
