"""Numbers as options of a task: each has a least and a greatest value."""

import argparse
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def within(kind: type[Number], low: Number, high: Number) -> Callable[[str], Number]:
    """What reads an option's number from low to high; argparse refuses any other."""

    def read(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {low:,} to {high:,}")
        return number

    return read
