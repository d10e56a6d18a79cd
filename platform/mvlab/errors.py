"""Base classes of the errors that a user can mend. The command lines show their message, and no traceback."""


class UserError(Exception):
    """An option, a file or a service is wrong, not the code. The message says what, where and what to do."""


class InvalidValueError(UserError, ValueError):
    """A value that cannot be used, alone or together with others."""
