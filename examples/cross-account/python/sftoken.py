"""Salesforce tokens from sftoken, and requests to Salesforce with them. To be copied into a program of your own."""

import os
import re
import threading
import time

import botocore.session
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

MARGIN = 30  # seconds before its end at which a token is replaced
PATIENCE = 60  # seconds for which an API that asks to come back later is asked again
TIMEOUT = 30  # seconds that one request may take


class Refused(Exception):
    """What the API answered instead of a token, or that the org redirects elsewhere."""


class IAMAuth(requests.auth.AuthBase):
    """Signs requests to API Gateway with the AWS credentials that boto3 would find."""

    def __init__(self, url):
        self._credentials = botocore.session.get_session().get_credentials()
        if self._credentials is None:
            raise NoCredentialsError
        # Signed for the API's region, which need not be the caller's.
        named = re.search(r"\.execute-api\.([a-z0-9-]+)\.", url)
        self._region = named[1] if named else os.environ["AWS_REGION"]

    def __call__(self, request):
        signed = AWSRequest(request.method, request.url)
        credentials = self._credentials.get_frozen_credentials()  # refreshed where they have to be
        SigV4Auth(credentials, "execute-api", self._region).add_auth(signed)
        request.headers.update(signed.headers)
        return request


class Tokens:
    """The tokens of one app. Threads may share it: one asks the API, the others wait for its answer."""

    def __init__(self, url, app):
        self._url = f"{url.rstrip('/')}/tokens/{app}"
        self._auth = IAMAuth(url)
        self._lock = threading.Lock()
        self._token, self._until = None, 0

    def get(self, rejected=None):
        """The API's answer, kept until shortly before its token expires. Rejected is the token_id of a token that Salesforce
        has refused: the API gives another one if Salesforce says that it is dead, and the same again if not."""
        with self._lock:
            if self._token is None or time.time() >= self._until or self._token["token_id"] == rejected:
                self._token = self._ask(rejected)
                self._until = time.time() + self._token["expires_in"] - MARGIN
            return self._token

    def _ask(self, rejected):
        until = time.time() + PATIENCE
        while True:
            # Without a value, requests leaves a parameter out. A redirect would take the signature to another host.
            answer = requests.get(self._url, params={"rejected": rejected}, auth=self._auth, timeout=TIMEOUT, allow_redirects=False)
            if answer.status_code == 200:
                return answer.json()
            wait = int(answer.headers.get("Retry-After", 1))
            if answer.status_code != 503 or time.time() + wait > until:
                raise Refused(f"HTTP {answer.status_code}: {answer.text}")
            time.sleep(wait)


def call(tokens, method, path, **more):
    """Sends a request to the org's REST API, for a path that begins with /; once more with another token, when the first one is
    dead. A redirect is not followed: it would take the token elsewhere."""
    token = tokens.get()
    answer = _send(token, method, path, more)
    if answer.status_code == 401 and "INVALID_SESSION_ID" in answer.text:
        another = tokens.get(rejected=token["token_id"])
        if another["token_id"] != token["token_id"]:  # the same one is alive: Salesforce means something else
            answer = _send(another, method, path, more)
    return answer


def _send(token, method, path, more):
    if not path.startswith("/"):  # anything else could change the host: @evil.example
        raise ValueError(f"a path begins with /, and this is {path!r}")
    headers = {"Authorization": f"Bearer {token['access_token']}"} | more.get("headers", {})
    answer = requests.request(method, token["instance_url"] + path, **{"timeout": TIMEOUT, **more, "headers": headers, "allow_redirects": False})
    if answer.is_redirect:
        raise Refused(f"HTTP {answer.status_code}: the org redirects, which is not followed")
    return answer
