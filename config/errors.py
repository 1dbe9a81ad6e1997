"""What a setting that can't be used raises; the parts of this package share it."""


class SettingsError(Exception):
    """A setting is missing or can't be used; the message names it and says what to do."""
