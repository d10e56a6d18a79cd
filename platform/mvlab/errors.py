"""Base classes of the errors that a user can mend. The command lines show their message, and no traceback."""

from typing import ClassVar


class UserError(Exception):
    """An option, a file or a service is wrong, not the code. The message says what, where and what to do."""

    is_final: ClassVar[bool] = False
    """True for errors that a run meets again at once when it is resumed."""


class InvalidValueError(UserError, ValueError):
    """A value that cannot be used, alone or together with others."""
