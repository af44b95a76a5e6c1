"""Validates responses of the API against docs/openapi.yaml."""

import os

import schemathesis
from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]

_schema = schemathesis.openapi.from_path(os.environ["SFTOKEN_OPENAPI"])
_schema.config.update(base_url="http://127.0.0.1")


def conforms(method, response):
    """Raises an error if the response's status, content type, headers or body do not conform."""
    case = _schema["/tokens/{app}"][method].Case(path_parameters={"app": "crm"})
    case.validate_response(response, checks=CHECKS)
