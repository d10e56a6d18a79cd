"""Paths as people write them."""

import os

from mvlab.errors import InvalidValueError


def expanded(text: str) -> str:
    """Replace ~ or ~user in `text` by the home directory. A URI has none.

    Raises:
        InvalidValueError: there is no such user.
    """
    path = os.path.expanduser(text)
    if path.startswith("~"):
        name = path.split("/")[0]
        raise InvalidValueError(f"{text}: {name} is no user's home folder; for a folder of that name write ./{name}")
    return path
