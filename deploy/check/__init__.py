"""Whether what a platform team takes from here is well-formed, by each format's own validator.

A module a kind of file; each has `check()`, which raises `Finding` for what is wrong.
"""


class Finding(Exception):
    """What a validator found; the message is for people, in full."""
