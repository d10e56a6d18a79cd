"""Durations, for people."""


def clock(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds: "4h10m", "3m05s"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"
