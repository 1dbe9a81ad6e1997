"""Our types as JSON Schema (2020-12), for documents that others read: OpenAPI and AsyncAPI."""

from collections.abc import Iterable
from typing import Any

import msgspec

Schema = dict[str, Any]
INT32_MAX = 2**31 - 1
REF = "#/components/schemas/{name}"


def read(types: Iterable[Any]) -> dict[str, Schema]:
    """Schemas by name of what we take: required is what has no default."""
    _, components = msgspec.json.schema_components(types, ref_template=REF)
    return {name: portable(schema) for name, schema in components.items()}


def written(types: Iterable[Any]) -> dict[str, Schema]:
    """Schemas by name of what we answer: what has a default is there all the same.

    What is left out at times has msgspec.UNSET for a default, which no schema shows.
    """
    components = read(types)
    for schema in components.values():
        members = schema["properties"]
        always = {*schema["required"], *(name for name in members if "default" in members[name])}
        schema["required"] = [name for name in members if name in always]
        for member in members.values():
            member.pop("default", None)
    return components


def one(type_: Any) -> Schema:
    """The schema of a type; a struct's is a reference."""
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=REF)
    return dict(portable(schema))


def portable(schema: Any) -> Any:
    """Patterns as ECMA-262 has them: `$` is the end of the text there, and `\\Z` is unknown; and
    integers with their size."""
    if isinstance(schema, list):
        return [portable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: portable(value) for key, value in schema.items()}
    if copy.get("type") == "integer":
        # What is not bounded may be as large as PostgreSQL counts: more than a double holds.
        bounded = abs(copy.get("maximum", INT32_MAX + 1)) <= INT32_MAX
        copy["format"] = "int32" if bounded else "int64"
    if isinstance(copy.get("pattern"), str):
        copy["pattern"] = copy["pattern"].replace("\\Z", "$")
    return copy
