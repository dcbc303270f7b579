"""Gets the aliases of the plugs of a station: from options, else from prompts that propose one for each plug."""

from collections import Counter
from collections.abc import Mapping, Sequence

from evse_mqtt_bridge.cli.common.prompts import Prompter, Question
from evse_mqtt_bridge.config.checks import plug_alias_error
from evse_mqtt_bridge.config.schema_index import EACH
from evse_mqtt_bridge.domain.identifiers import suggest_alias
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.support.text import clean

__all__ = ["ask_plug_aliases"]


def ask_plug_aliases(prompter: Prompter, plugs: Sequence[PlugReading], given: Mapping[str, str]) -> dict[str, str]:
    """Return the aliases of the plugs of a station, by uuid. Without a terminal, only given ones.

    Args:
        prompter: Prompts for the aliases that are not given.
        plugs: The plugs, as the cloud reports them.
        given: Aliases given as options, which may be those of other plugs.
    """
    aliases = dict(given)
    labels = Counter(plug.label for plug in plugs)
    for plug in plugs:
        uuid = plug.plug_uuid
        if uuid in aliases:
            continue
        name = clean(plug.label) if plug.label and labels[plug.label] == 1 else f"plug {uuid}"
        proposal = suggest_alias(plug.label or "")
        alias = prompter.text(
            Question(f"Alias of {name}", "the alias", ("stations", EACH, "plugs", uuid), default=""),
            proposal="" if plug_alias_error(proposal, aliases) else proposal,
            conflict=lambda typed: plug_alias_error(typed, aliases),
        )
        if alias:
            aliases[uuid] = alias
    return aliases
