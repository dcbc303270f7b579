"""Replaces the generated section of a page, between two marks."""

__all__ = ["replace_section"]


def replace_section(page: str, begin: str, end: str, text: str) -> str:
    """Return `page` with `text` between the marks `begin` and `end`, which stay.

    Raises:
        ValueError: A mark is missing.
    """
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"a mark is missing: {begin.strip()} ... {end.strip()}")
    return f"{before}{begin}{text}{end}{after}"
