"""Check of an address before a library waits for it for minutes."""

import socket

SECONDS_FOR_AN_ANSWER = 3.0


def answers(host: str, port: int) -> bool:
    """Tell whether a connection to an address is accepted."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS_FOR_AN_ANSWER):
            return True
    except (OSError, OverflowError, UnicodeError):  # the last two: invalid port, invalid host name
        return False
