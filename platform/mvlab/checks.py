"""How a value refuses what it cannot be."""


def require(condition: bool, message: str) -> None:
    """Raises a ValueError that says `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)
