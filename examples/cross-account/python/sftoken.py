"""Fetches Salesforce tokens from sftoken and sends requests to Salesforce. Copy this file into your program.

Requests to the API are signed, which needs botocore. Requests to an agent (`sftoken serve`) on this host are not."""

import ipaddress
import os
import pathlib
import re
import threading
import time

import requests
import urllib3.util

MARGIN = 30  # seconds before its expiry at which a token is replaced
RETRY_TIME = 60  # seconds for which a 503 of the API is retried
TIMEOUT = 30  # seconds per request


class Refused(Exception):
    """The API responded without a token, or the org redirected."""


class IAMAuth(requests.auth.AuthBase):
    """Signs requests to API Gateway with the AWS credentials that boto3 would find."""

    def __init__(self, url):
        import botocore.session

        self._credentials = botocore.session.get_session().get_credentials()
        if self._credentials is None:
            raise botocore.exceptions.NoCredentialsError
        # The API's region, which may differ from the caller's.
        named = re.search(r"\.execute-api\.([a-z0-9-]+)\.", url)
        self._region = named[1] if named else os.environ["AWS_REGION"]

    def __call__(self, request):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        signed = AWSRequest(request.method, request.url)
        credentials = self._credentials.get_frozen_credentials()  # refreshed if necessary
        SigV4Auth(credentials, "execute-api", self._region).add_auth(signed)
        request.headers.update(signed.headers)
        return request


class AgentAuth(requests.auth.AuthBase):
    """Sends the agent token. It is read for each request, because an agent makes another one when it starts."""

    def __call__(self, request):
        token = os.environ.get("SFTOKEN_AGENT_TOKEN") or pathlib.Path(os.environ["SFTOKEN_AGENT_TOKEN_FILE"]).read_text()
        request.headers["Authorization"] = f"Bearer {token.strip()}"
        return request


def uses_agent(url):
    """Reports whether url is an agent's: http at a loopback address, while the environment has an agent token."""
    parts = urllib3.util.parse_url(url)  # as requests does it
    try:
        loopback = parts.host == "localhost" or ipaddress.ip_address((parts.host or "").strip("[]")).is_loopback
    except ValueError:  # a name
        loopback = False
    return parts.scheme == "http" and loopback and any(os.environ.get(name) for name in ("SFTOKEN_AGENT_TOKEN", "SFTOKEN_AGENT_TOKEN_FILE"))


class Tokens:
    """The tokens of one app. Threads can share it: one calls the API, the others wait for the response."""

    def __init__(self, url, app):
        self._url = f"{url.rstrip('/')}/tokens/{app}"
        agent = uses_agent(url)
        self._auth = AgentAuth() if agent else IAMAuth(url)
        self._session = requests.Session()
        self._session.trust_env = not agent  # the agent token must not reach a proxy
        self._lock = threading.Lock()
        self._token, self._until = None, 0

    def get(self, rejected=None):
        """Returns the API's response, cached until shortly before its token expires. rejected is the token_id of a token that
        Salesforce rejected: the API returns another one unless Salesforce reports that one as active."""
        with self._lock:
            if self._token is None or time.time() >= self._until or self._token["token_id"] == rejected:
                self._token = self._ask(rejected)
                self._until = time.time() + self._token["expires_in"] - MARGIN
            return self._token

    def _ask(self, rejected):
        until = time.time() + RETRY_TIME
        while True:
            # requests omits a parameter that is None. A redirect would take the signature to another host.
            response = self._session.get(self._url, params={"rejected": rejected}, auth=self._auth, timeout=TIMEOUT, allow_redirects=False)
            if response.status_code == 200:
                return response.json()
            wait = int(response.headers.get("Retry-After", 1))
            if response.status_code != 503 or time.time() + wait > until:
                raise Refused(f"HTTP {response.status_code}: {response.text}")
            time.sleep(wait)


def call(tokens, method, path, **more):
    """Sends a request to the org's REST API. The path must begin with /. If the session has ended, repeats the request with
    another token. Follows no redirect, which would take the token to another host."""
    token = tokens.get()
    response = _send(token, method, path, more)
    if response.status_code == 401 and "INVALID_SESSION_ID" in response.text:
        another = tokens.get(rejected=token["token_id"])
        if another["token_id"] != token["token_id"]:  # the same one is active: the 401 has another cause
            response = _send(another, method, path, more)
    return response


def _send(token, method, path, more):
    if not path.startswith("/"):  # anything else could change the host: @evil.example
        raise ValueError(f"path must begin with /: {path!r}")
    headers = {"Authorization": f"Bearer {token['access_token']}"} | more.get("headers", {})
    response = requests.request(method, token["instance_url"] + path, **{"timeout": TIMEOUT, **more, "headers": headers, "allow_redirects": False})
    if response.is_redirect:
        raise Refused(f"HTTP {response.status_code}: the org redirects, which is not followed")
    return response
