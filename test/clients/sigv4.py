"""Signature Version 4 for requests, with botocore, and the addresses and keys of `sftoken local --json`."""

import json
import os
import time

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

with open(os.environ["SFTOKEN_LOCAL"], encoding="utf-8") as file:
    LOCAL = json.load(file)

TOKENS = LOCAL["url"] + "/tokens/"


class SigV4(requests.auth.AuthBase):
    """Signs requests for one of the local principals: owner, billing or stranger."""

    def __init__(self, who="billing", secret=None):
        key = LOCAL["keys"][who]
        credentials = Credentials(key["accessKeyId"], secret or key["secretAccessKey"])
        self.signer = SigV4Auth(credentials, "execute-api", LOCAL["region"])

    def __call__(self, request):
        signed = AWSRequest(method=request.method, url=request.url, data=request.body or b"")
        self.signer.add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


def get_token(app="crm", rejected=None):
    """Returns a token, another than the rejected one if that has ended. The API checks it once in five seconds."""
    for _ in range(12):
        response = requests.get(TOKENS + app, params={"rejected": rejected}, auth=SigV4(), timeout=30)
        response.raise_for_status()
        token = response.json()
        if token["token_id"] != rejected or response.headers["X-Token-Cache"] != "hit":
            return token
        time.sleep(1)
    raise AssertionError("the API has not checked the rejected token")


def end_session(token):
    """Ends the token's session at Salesforce, as an administrator might."""
    url = token["instance_url"] + "/services/oauth2/revoke"
    requests.post(url, data={"token": token["access_token"]}, timeout=30).raise_for_status()
