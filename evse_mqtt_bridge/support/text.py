"""Text from outside, made fit for a log line or a name."""

__all__ = ["clean"]


def clean(text: str, limit: int = 64) -> str:
    """`text` as one line of at most `limit` characters.

    Each run of white space and of what has no form of its own (control, bidirectional and other invisible characters,
    lone surrogates) becomes one space.
    """
    start = text[: limit * 4]
    if not start.isprintable():
        start = "".join(character if character.isprintable() else " " for character in start)
    line = " ".join(start.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
