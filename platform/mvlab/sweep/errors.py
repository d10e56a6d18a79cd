"""Errors of a sweep. Needs no Ray, so that a command line can import it quickly."""

from mvlab.errors import UserError


class ClusterError(UserError, ConnectionError):
    """The cluster that was named cannot be used."""
