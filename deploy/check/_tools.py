"""Validators that come as packages of Python, in the environment of whoever checks."""

import subprocess
import sysconfig
from pathlib import Path

from config import ROOT
from deploy.check import Finding


def run(name: str, *arguments: str) -> None:
    """Run a tool in the checkout. Raises Finding with what it says."""
    tool = Path(sysconfig.get_path("scripts")) / name
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Finding(done.stdout + done.stderr)
