"""What export and verification can be refused for. Imports nothing, so that a command line can name these cheaply."""


class PackageError(ValueError):
    """A package that cannot be read or run, or is of another network; the message says where and why."""


class PicturesError(ValueError):
    """A folder without images, or with one that cannot be read; the message says which."""


class ExportError(ValueError):
    """A package that cannot be made of this network, or not as was asked for; the message says why."""
