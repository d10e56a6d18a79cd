"""What a sweep refuses. Needs no Ray, so that a command line can name it cheaply."""


class ClusterError(ConnectionError):
    """The cluster that was named cannot be used."""
