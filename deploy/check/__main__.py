"""`python -m deploy.check [NAME ...]`: run the checks of this folder, all or by name."""

import pkgutil
import sys
from importlib import import_module
from time import monotonic

from deploy import check
from deploy.check import Finding


def main(wanted: list[str]) -> int:
    names = sorted(module.name for module in pkgutil.iter_modules(check.__path__))
    names = [name for name in names if not name.startswith("_")]
    unknown = set(wanted) - set(names)
    if unknown:
        print(f"There is no check {', '.join(sorted(unknown))}; there are {', '.join(names)}.")
        return 2
    failed = 0
    for name in wanted or names:
        began = monotonic()
        try:
            import_module(f"deploy.check.{name}").check()
        except Finding as finding:
            failed += 1
            print(f"{name:12} WRONG\n{finding}", flush=True)
        else:
            print(f"{name:12} ok, {monotonic() - began:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
