"""Formats durations as text."""

__all__ = ["format_duration"]

_TENTHS_BELOW = 9.95
_SECONDS_BELOW = 120


def format_duration(seconds: float) -> str:
    """Return a duration as text: `0.8 s`, `12 s`, `4 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < _SECONDS_BELOW:
        return f"{rounded} s"
    hours, minutes = divmod(rounded // 60, 60)
    if not hours:
        return f"{minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes:02} min"
