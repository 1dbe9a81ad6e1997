"""The OpenAPI document: /openapi.json, and /docs to read it by."""
