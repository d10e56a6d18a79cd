"""Asks whether anybody listens at an address, before a library waits for it for minutes."""

import socket

SECONDS_FOR_AN_ANSWER = 3.0


def answers(host: str, port: int) -> bool:
    """Whether a connection is taken there."""
    try:
        with socket.create_connection((host, port), timeout=SECONDS_FOR_AN_ANSWER):
            return True
    except OSError:
        return False
