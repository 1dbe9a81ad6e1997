"""The OpenAPI document is one, and its examples are what it says they are."""

from openapi_spec_validator import OpenAPIV31SpecValidator

from deploy.check import Finding
from deploy.documents import openapi


def check() -> None:
    document = openapi()
    found = [f"{error.json_path}: {error.message}" for error in
             OpenAPIV31SpecValidator(document).iter_errors()]  # fmt: skip
    if found:
        raise Finding("\n".join(found))
