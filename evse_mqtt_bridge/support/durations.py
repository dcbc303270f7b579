"""Formats spans of time for people."""

__all__ = ["format_duration"]

_TENTHS_BELOW = 9.95
_SECONDS_BELOW = 120


def format_duration(seconds: float) -> str:
    """A span of time as text: `0.8 s`, `12 s`, `4 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f} s"
    whole_seconds = round(seconds)
    if whole_seconds < _SECONDS_BELOW:
        return f"{whole_seconds} s"
    hours, minutes = divmod(whole_seconds // 60, 60)
    if not hours:
        return f"{minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes:02} min"
