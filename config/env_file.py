"""Reads and writes `.env`: only what sh, systemd, compose and python-dotenv all read alike.

They differ on `$`, on backslashes, on comments behind a value, on `export`, on spaces and on line
ends. So a line that has one of these is refused, by its number and name; its value is never shown.
"""

import re
from pathlib import Path
from typing import Final

from config.errors import SettingsError

_LINE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)")
_NAME: Final = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
#: Values as the file has them, and what they say: bare, in single or in double quotes.
_VALUES: Final = (
    re.compile(r"(?P<text>[A-Za-z0-9_.:/@%+,=?-]*)"),
    re.compile(r"'(?P<text>[^'\\]*)'"),
    re.compile(r'"(?P<text>[^"\\$`]*)"'),
)


def read(path: Path) -> dict[str, str]:
    """The values of the file by name, empty ones included; none if there is no file.

    Raises SettingsError.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8. Save it as UTF-8.") from None
    if text.startswith("\ufeff"):
        raise SettingsError(f"{path} begins with a byte order mark. Save it as UTF-8 without one.")
    lines = enumerate(text.split("\n"), 1)
    return dict(_pair(path, number, line) for number, line in lines if _says_something(line))


def quoted(name: str, value: str) -> str:
    """How a line has the value. Raises SettingsError if no form is read alike by all readers."""
    forms = (value, f"'{value}'", f'"{value}"')
    for pattern, form in zip(_VALUES, forms, strict=True):
        if value.isprintable() and pattern.fullmatch(form):
            return form
    raise SettingsError(
        f"{name} can't be written to .env: a value there has no backslash, no line break, and not "
        f"both ' and one of \" $ `. Choose another one, or put it into a file that {name}_FILE "
        "names."
    )


def _says_something(line: str) -> bool:
    return line.strip() != "" and not line.lstrip(" \t").startswith("#")


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line.rstrip(" \t"))
    if match:
        for pattern in _VALUES:
            value = pattern.fullmatch(match["value"])
            if value and value["text"].isprintable():
                return match["name"], value["text"]
    named = _NAME.match(line)
    name = f" ({named['name']})" if named else ""
    raise SettingsError(f"{path}, line {number}{name}: {_advice(line)}")


def _advice(line: str) -> str:
    if line.endswith("\r"):
        return "it ends with CR LF. Save the file with Unix line ends."
    if re.match(r"\s*export\s", line):
        return "remove `export`, which only shells understand."
    if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", line):
        return "write it as NAME=value, without spaces before the name or around the `=`."
    return (
        "programs that read this file would read this value differently. Put it in single quotes, "
        "with nothing after them; it can't contain ' or \\ then. Put a value that needs those "
        "into a file that NAME_FILE names."
    )
