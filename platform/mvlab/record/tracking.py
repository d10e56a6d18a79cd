"""How a tracking server is named, and refused. Needs no MLflow, so that bad options are told of at once."""

from urllib.parse import urlsplit


class TrackingError(ConnectionError):
    """The MLflow server cannot be used; the message says what to do."""


def without_password(uri: str) -> str:
    """`uri` as it may be shown."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()
