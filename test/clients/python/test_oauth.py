"""Standard OAuth clients use the API as a token endpoint: they POST grant_type=client_credentials and sign that request."""

import os
import unittest

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.integrations.requests_client import OAuthError
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests_oauthlib import OAuth2Session as OAuthlibSession

from sigv4 import TOKENS, SigV4, end_session, get_token

QUERY = "/services/data/v65.0/query?q=SELECT+Id+FROM+Account+LIMIT+1"


class Authlib(unittest.TestCase):
    def session(self, path):
        return AuthlibSession(token_endpoint=TOKENS + path, grant_type="client_credentials")

    def test_work(self):
        with self.session("crm") as session:
            token = session.fetch_token(auth=SigV4())
            self.assertEqual(token["token_type"], "Bearer")
            self.assertGreater(token["expires_in"], 0)
            self.assertFalse(token.is_expired())
            self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)

    def test_an_expired_token_is_fetched_again(self):
        """Authlib does that itself if the signature is its client authentication method."""
        with AuthlibSession(token_endpoint=TOKENS + "crm", grant_type="client_credentials", token_endpoint_auth_method=sign) as session:
            token = session.fetch_token()
            session.token = {**token, "access_token": "expired", "expires_at": 1}
            self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)

    def test_an_ended_session(self):
        with self.session("crm") as session:
            token = dict(session.fetch_token(auth=SigV4()))
            end_session(token)
            self.assertEqual(session.get(token["instance_url"] + QUERY).status_code, 401)
            get_token(rejected=token["token_id"])
            token = session.fetch_token(auth=SigV4())
            self.assertEqual(session.get(token["instance_url"] + QUERY).status_code, 200)

    def test_errors(self):
        with self.session("nosuch") as session, self.assertRaisesRegex(OAuthError, "unknown_app"):
            session.fetch_token(auth=SigV4())


def sign(client, method, uri, headers, body):
    """A client authentication method for Authlib."""
    request = requests.Request(method, uri, headers=headers, data=body, auth=SigV4()).prepare()
    return request.url, dict(request.headers), request.body


class RequestsOAuthlib(unittest.TestCase):
    def test_work(self):
        os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the local API is http
        with OAuthlibSession(client=BackendApplicationClient(client_id="unused")) as session:
            token = session.fetch_token(TOKENS + "crm", auth=SigV4(), include_client_id=False)
            self.assertEqual(session.get(token["instance_url"] + QUERY).json()["totalSize"], 1)
            with self.assertRaisesRegex(OAuth2Error, "unknown_app"):
                session.fetch_token(TOKENS + "nosuch", auth=SigV4(), include_client_id=False)


if __name__ == "__main__":
    unittest.main()
