"""Cleans text from other systems for log lines and names."""

__all__ = ["clean"]


def clean(text: str, limit: int = 64) -> str:
    """Return `text` as one line of at most `limit` characters.

    Each run of white space, control characters, other invisible characters and lone surrogates becomes one space.
    """
    start = text[: limit * 4]
    if not start.isprintable():
        start = "".join(character if character.isprintable() else " " for character in start)
    line = " ".join(start.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
