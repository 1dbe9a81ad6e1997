"""The image, by hadolint."""

from deploy.check import _tools


def check() -> None:
    """Raises Finding."""
    _tools.run("hadolint", "Dockerfile")
