"""Provokes each documented response of the API once and validates it against docs/openapi.yaml."""

import unittest

import requests

from openapi import conforms
from sigv4 import TOKENS, SigV4, end_session, get_token

FORM = {"grant_type": "client_credentials"}
MESSAGE, IAM = "message", "Message"  # the error field of API Gateway's own responses


class Responses(unittest.TestCase):
    def check(self, method, path, status, what, *, by="owner", auth=True, as_operation=None, **request):
        """Sends a request and checks the response's status, and its error code or field."""
        if auth is True:
            auth = SigV4(by)
        response = requests.request(method, TOKENS + path, auth=auth or None, timeout=60, **request)
        self.assertEqual(response.status_code, status)
        conforms(as_operation or method, response)
        if status >= 400 and what in (MESSAGE, IAM):
            self.assertIn(what, response.json())
        elif status >= 400:
            self.assertEqual(response.json()["error"], what)
            self.assertTrue(response.json()["request_id"])  # which only an agent's own errors lack
        return response

    def test_tokens(self):
        get = self.check("GET", "crm", 200, None, by="billing").json()
        for data in (None, "", FORM, {**FORM, "scope": "api", "client_id": "ours"}):
            post = self.check("POST", "crm", 200, None, by="billing", data=data).json()
            self.assertEqual(post["access_token"], get["access_token"])
        empty = {"Content-Type": "application/x-www-form-urlencoded"}
        self.check("POST", "crm", 200, None, headers=empty)
        confirmed = self.check("GET", "crm", 200, None, params={"rejected": get["token_id"]})
        self.assertIn(confirmed.headers["X-Token-Cache"], ("confirmed", "hit"))

    def test_an_ended_session_is_replaced(self):
        token = get_token()
        end_session(token)
        self.assertNotEqual(get_token(rejected=token["token_id"])["access_token"], token["access_token"])

    def test_revoke(self):
        self.check("DELETE", "crm", 204, None)
        self.check("DELETE", "crm", 204, None)

    def test_bad_requests(self):
        self.check("GET", "Not_A_Name", 400, "invalid_request")
        self.check("GET", "crm%2B", 400, "invalid_request")
        self.check("GET", "crm", 400, "invalid_request", params={"rejected": "nothing"})
        self.check("GET", "crm", 400, "invalid_request", params={"rejected": ["0" * 16, "1" * 16]})
        self.check("POST", "crm", 400, "invalid_request", data={"scope": "api"})
        self.check("POST", "crm", 400, "invalid_request", data="x" * 9000)
        self.check("POST", "crm", 400, "unsupported_grant_type", data={"grant_type": "password"})

    def test_refusals(self):
        self.check("GET", "crm", 403, "access_denied", by="stranger")
        self.check("DELETE", "crm", 403, IAM, by="billing")
        self.check("GET", "crm", 403, MESSAGE, auth=None)
        self.check("GET", "crm", 403, MESSAGE, auth=SigV4("billing", secret="another"))
        self.check("PUT", "crm", 403, MESSAGE, as_operation="GET")
        self.check("GET", "crm/more", 403, MESSAGE)

    def test_unknown_app(self):
        for method in ("GET", "POST", "DELETE"):
            self.check(method, "nosuch", 404, "unknown_app")

    def test_too_large(self):
        self.check("POST", "crm", 413, MESSAGE, data=b"x" * (10 * 2**20 + 1))


if __name__ == "__main__":
    unittest.main()
