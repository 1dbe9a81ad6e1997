"""What stands in the way of a run."""


class CannotRunError(Exception):
    """The message says what is wrong, and what to do about it."""
