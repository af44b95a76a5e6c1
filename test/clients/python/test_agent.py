"""Clients of the agent: `sftoken serve` in front of `sftoken local`. None of them signs. OAuth clients use the agent as a token
endpoint, and its token as the client secret."""

import importlib.util
import os
import pathlib
import re
import unittest

import requests
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError
from requests_oauthlib import OAuth2Session as OAuthlibSession
from simple_salesforce import SalesforceMalformedRequest

from sigv4 import end_session

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples/agent"
URL = os.environ["SFTOKEN_URL"]
SECRET = pathlib.Path(os.environ["SFTOKEN_AGENT_TOKEN_FILE"]).read_text().strip()
QUERY = "/services/data/v65.0/query?q=SELECT+Id+FROM+Account+LIMIT+1"

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the agent is http, on this host


def get_token(rejected=None):
    headers = {"Authorization": "Bearer " + SECRET}
    response = requests.get(URL + "/tokens/crm", {"rejected": rejected}, headers=headers, timeout=30)
    response.raise_for_status()
    return response.json()


def works(token):
    headers = {"Authorization": "Bearer " + token["access_token"]}
    return requests.get(token["instance_url"] + QUERY, headers=headers, timeout=30).status_code == 200


def setUpModule():
    """Replaces a token whose session the tests of the other clients have ended."""
    token = get_token()
    if not works(token):
        get_token(rejected=token["token_id"])


class SimpleSalesforce(unittest.TestCase):
    """The function of examples/agent/python."""

    @classmethod
    def setUpClass(cls):
        spec = importlib.util.spec_from_file_location("accounts", EXAMPLE / "python/accounts.py")
        cls.accounts = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.accounts)

    def test_ended_sessions(self):
        used = []

        def work(sf):
            used.append(sf.session_id)
            return sf.query("SELECT Id FROM Account LIMIT 1")["totalSize"]

        for ended in range(1, 3):
            self.assertEqual(self.accounts.run(work), 1)
            end_session(get_token())
            self.assertEqual(self.accounts.run(work), 1)
            self.assertEqual(len(set(used)), ended + 1)
        self.assertEqual(len(used), 6)

    def test_errors(self):
        with self.assertRaises(SalesforceMalformedRequest):
            self.accounts.run(lambda sf: sf.query("SELECT Nothing FROM Account"))

    def test_it_is_short(self):
        function = re.search(r"^def run\(.*?\n\n", (EXAMPLE / "python/accounts.py").read_text(), re.S | re.M)[0]
        self.assertLess(len(function.strip().splitlines()), 10)


class Authlib(unittest.TestCase):
    METHODS = "client_secret_basic", "client_secret_post"

    def session(self, method, secret=SECRET, app="crm"):
        return OAuth2Session("any", secret, token_endpoint=f"{URL}/tokens/{app}", grant_type="client_credentials", token_endpoint_auth_method=method)

    def test_work(self):
        for method in self.METHODS:
            with self.subTest(method=method), self.session(method) as session:
                token = session.fetch_token()
                self.assertEqual(token["token_type"], "Bearer")
                self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)

    def test_an_expired_token_is_fetched_again(self):
        for method in self.METHODS:
            with self.subTest(method=method), self.session(method) as session:
                token = session.fetch_token()
                session.token = {**token, "access_token": "expired", "expires_at": 1}
                self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)

    def test_an_ended_session(self):
        with self.session("client_secret_basic") as session:
            token = dict(session.fetch_token())
            end_session(token)
            self.assertEqual(session.get(token["instance_url"] + QUERY).status_code, 401)
            session.fetch_token(f"{URL}/tokens/crm?rejected={token['token_id']}")
            self.assertEqual(session.get(token["instance_url"] + QUERY).status_code, 200)

    def test_errors(self):
        for method in self.METHODS:
            with self.subTest(method=method):
                with self.session(method, "wrong") as session, self.assertRaisesRegex(OAuthError, "invalid_client"):
                    session.fetch_token()
                with self.session(method, app="erp") as session, self.assertRaisesRegex(OAuthError, "access_denied"):
                    session.fetch_token()

    def test_the_readme(self):
        block = re.search(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.S)[1]
        names = {"OAuth2Session": OAuth2Session, "agent_token": SECRET, "url": URL}
        exec(block, names)
        self.assertTrue(works(names["session"].token))


class RequestsOAuthlib(unittest.TestCase):
    WAYS = {"post": {"client_secret": SECRET, "include_client_id": True}, "basic": {"auth": ("any", SECRET)}}

    def test_work(self):
        for name, way in self.WAYS.items():
            with self.subTest(way=name), OAuthlibSession(client=BackendApplicationClient(client_id="any")) as session:
                token = session.fetch_token(URL + "/tokens/crm", **way)
                self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)

    def test_an_ended_session(self):
        way = self.WAYS["post"]
        with OAuthlibSession(client=BackendApplicationClient(client_id="any")) as session:
            token = dict(session.fetch_token(URL + "/tokens/crm", **way))
            end_session(token)
            session.fetch_token(f"{URL}/tokens/crm?rejected={token['token_id']}", **way)
            self.assertEqual(session.get(token["instance_url"] + QUERY).status_code, 200)

    def test_errors(self):
        with OAuthlibSession(client=BackendApplicationClient(client_id="any")) as session, self.assertRaises(InvalidClientError):
            session.fetch_token(URL + "/tokens/crm", client_secret="wrong", include_client_id=True)


if __name__ == "__main__":
    unittest.main()
