"""Every YAML file, by yamllint."""

from deploy.check import _tools


def check() -> None:
    """Raises Finding."""
    _tools.run("yamllint", "--strict", "--config-file", "deploy/check/yamllint.yml", ".")
