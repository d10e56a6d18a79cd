"""Asks whether anybody listens at an address, before a library waits for it for minutes."""

import socket

SECONDS_FOR_AN_ANSWER = 3.0


def answers(host: str, port: int) -> bool:
    """True where a connection is accepted."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS_FOR_AN_ANSWER):
            return True
    except (OSError, OverflowError, UnicodeError):  # the last two: of what is no port, and no name of a host
        return False
