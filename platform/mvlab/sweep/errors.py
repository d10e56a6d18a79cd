"""What a sweep refuses. Needs no Ray, so that a command line can name it cheaply."""

from mvlab.errors import UserError


class ClusterError(UserError, ConnectionError):
    """The cluster that was named cannot be used."""
