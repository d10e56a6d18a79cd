"""Refusals of export and verification. Imports nothing, so that a command line can name them cheaply."""

from mvlab.errors import UserError


class PackageError(UserError, ValueError):
    """Package that cannot be read or run, or belongs to another network. The message says where and why."""


class PicturesError(UserError, ValueError):
    """Folder or split without images, or with one that cannot be read. The message says which."""


class ExportError(UserError, ValueError):
    """Package that cannot be made of this network, or not as requested. The message says why."""
