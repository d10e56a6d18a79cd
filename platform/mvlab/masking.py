"""Credentials in URIs: masked wherever a URI, a command line or an error is shown or recorded."""

import re
import shlex
from collections.abc import Iterable
from urllib.parse import quote, unquote

MASK = "***"
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
IN_TEXT = re.compile(SCHEME.pattern + r"[^\s'\"<>`]+")
"""URI within a text."""
VALUE = (
    r"(?i)([?&][^=&\s]*(?:passw|passphrase|pwd|token|secret|key|credential|sig\b|signature|auth|odbc_connect)[^=&\s]*=)"
)
"""Pattern of the name before a secret in a query."""
SHORTEST = 4
"""Shortest secret that is searched for in a text. A shorter one would match everywhere."""


def masked(uri: str) -> str:
    """Mask the credentials in a URI, or in an argument that holds one: user:password@, and secrets in its query.

    A password may hold anything, even `@`, `/` and spaces. In case of doubt, more is masked.
    """
    for start, end in reversed(_secrets(uri)):
        uri = f"{uri[:start]}{MASK}{uri[end:]}"
    return uri


def masked_command(arguments: Iterable[str]) -> str:
    """Return a command line that can be typed again, except for the credentials in it."""
    return shlex.join(masked(each) if SCHEME.search(each) else each for each in arguments)


def redacted(text: str, uri: str = "") -> str:
    """Mask the credentials of each URI in `text`, and those of `uri` in whatever spelling they occur."""
    for written in _ways_to_write(uri):
        text = text.replace(written, MASK)
    text = IN_TEXT.sub(lambda found: masked(found[0]), text)
    return re.sub(VALUE + r"[^&\s'\"]+", rf"\1{MASK}", text)


def has_credentials(uri: str) -> bool:
    """Tell whether `masked` would mask anything."""
    return bool(_secrets(uri))


def _secrets(uri: str) -> list[tuple[int, int]]:
    """Return the start and end of each secret in `uri`."""
    begin, at = _user_and_password(uri)
    if begin <= uri.find("?", begin) < at:  # a password, or a mail address in a query: ambiguous
        return [(begin, len(uri))]
    in_query = re.finditer(VALUE + r"([^&]+)", uri[at:])
    found = [(at + each.start(2), at + each.end(2)) for each in in_query]
    return [(begin, at), *found] if at > begin else found


def _user_and_password(uri: str) -> tuple[int, int]:
    """Return the start and end of user and password; equal if there are none."""
    scheme = SCHEME.search(uri)
    begin = scheme.end() if scheme else 0
    end = max(begin, uri.rfind("@"))
    before = uri[begin:end]
    if scheme is None:
        is_path = not re.match(r"[^/\s]*:", before)
    elif scheme[1].startswith(("file", "sqlite")):
        is_path = True
    elif scheme[1].lower().startswith("http"):
        is_path = False
    else:  # an object's name may contain an @, and Azure puts the container before one
        is_path = ":" not in before and ("/" in before or scheme[1].startswith("abfs"))
    return (begin, begin) if is_path else (begin, end)


def _ways_to_write(uri: str) -> list[str]:
    """Return the secrets of a URI as a library may decode, escape or cut them, longest first."""
    secrets = [uri[start:end] for start, end in (_user_and_password(uri), *_secrets(uri))]
    secrets += [each.partition(":")[2] or each for each in secrets]  # without the user
    secrets += [unquote(each) for each in secrets] + [quote(each, safe="") for each in secrets]
    secrets += [repr(each)[1:-1] for each in secrets]
    secrets += [part for each in secrets for part in re.split(r"[/?#@:&\s]+", each.partition(":")[2] or each)]
    return sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)
