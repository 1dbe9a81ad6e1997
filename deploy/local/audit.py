"""Known vulnerabilities in what the lock files pin, by pip-audit.

A vulnerability fails. A source that can't be asked does not, so that style and types can be checked
without it; what was not looked at is said loudly, and is no all-clear.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from deploy.local.lock import LOCKS

LOCK_FILES = [*LOCKS, "bench/requirements.txt"]
SECONDS_MAX = 60


def main() -> int:
    try:
        dependencies = audit(LOCK_FILES)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        warn(f"pip-audit gave no answer ({type(error).__name__})")
        return 0
    return judge(dependencies)


def judge(dependencies: list[dict[str, Any]]) -> int:
    """Print what is known; returns the exit code."""
    unknown = [one for one in dependencies if "skip_reason" in one]
    found = [one for one in dependencies if one.get("vulns")]
    for one in found:
        print(f"{one['name']} {one['version']}: {', '.join(map(describe, one['vulns']))}")
    if unknown:
        warn(f"{len(unknown)} of {len(dependencies)} packages could not be looked up")
    print(f"pip-audit: {len(dependencies) - len(unknown)} packages looked up, {len(found)} of them "
          "vulnerable")  # fmt: skip
    return 1 if found else 0


def audit(lock_files: list[str]) -> list[dict[str, Any]]:
    """What pip-audit says of each package. Raises JSONDecodeError where it says nothing."""
    tool = str(Path(sysconfig.get_path("scripts")) / "pip-audit")
    command = [tool, "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", "5"]
    for lock in lock_files:
        command += ["--requirement", lock]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=SECONDS_MAX
    )
    dependencies: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    return dependencies


def describe(vulnerability: dict[str, Any]) -> str:
    fixed = ", ".join(vulnerability["fix_versions"]) or "no release yet"
    return f"{vulnerability['id']} (fixed in: {fixed})"


def warn(what: str) -> None:
    print(f"\nNOT AUDITED: {what}. Nobody has looked whether they are known to be vulnerable.\n",
          file=sys.stderr)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
