"""ministack, an AWS emulator in one process, with signatures and IAM policies enforced; and callers made in it."""

import dataclasses
import datetime
import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import unittest.mock
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
from botocore.credentials import Credentials

OWNER = "111111111111"  # the account that sftoken is deployed in
CALLER = "222222222222"  # an account whose principals call it
REGION = "us-east-1"


class Emulator:
    """The emulator. A twelve-digit access key is the root of that account, whatever its secret; every other key's signature is
    checked. Close it."""

    def __init__(self, ministack, directory):
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = directory / "ministack.log"
        self._clients = {}
        # The functions inherit this environment: it holds no more than they may see.
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory), "STATE_DIR": str(directory), "AUTH": "true", "LAMBDA_STRICT": "0",
            "GATEWAY_PORT": str(self.port), "BIND_HOST": "127.0.0.1", "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": OWNER, "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20), "MINISTACK_ACCOUNT_ID": OWNER,
            "IOT_MTLS_ENABLED": "0",  # it would listen on all addresses
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",  # a failed event is tried again at once, not after a minute
        }
        # A process group of its own, so that the functions' processes end with it.
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen([ministack], env=environment, stdout=log, stderr=log, start_new_session=True)
        wait_for(self._healthy, 120, "the emulator to come up")

    def _healthy(self):
        if self._process.poll() is not None:
            raise RuntimeError(f"ministack ended: {self.log.read_text(errors='replace')[-2000:]}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def close(self):
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(timeout=10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def root(self, account=OWNER):
        """The root of an account."""
        return Credentials(account, "root-keys-are-not-checked")

    def client(self, service, credentials=None, region=REGION):
        """A boto3 client; without credentials that of the owner's root, who may do everything."""
        credentials = credentials or self.root()
        key = service, credentials.access_key, region
        if key not in self._clients:
            self._clients[key] = boto3.client(
                service, region_name=region, endpoint_url=self.endpoint, aws_access_key_id=credentials.access_key,
                aws_secret_access_key=credentials.secret_key, aws_session_token=credentials.token,
                config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=180, proxies={}),
            )
        return self._clients[key]

    def environment(self, credentials=None):
        """The environment in which a program talks to the emulator with the credentials; the owner's root without."""
        credentials = credentials or self.root()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SFTOKEN_")) and not k.lower().endswith("_proxy")}
        kept |= {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key, "SAM_CLI_TELEMETRY": "0",
        }
        if credentials.token:
            kept["AWS_SESSION_TOKEN"] = credentials.token
        return kept


class Hidden(str):
    """A text that a failing test does not show."""

    def __repr__(self):
        return "[redacted]"


def hiding(fields):
    """The JSON object with its secrets hidden."""
    return {k: Hidden(v) if k in ("access_token", "signature", "consumerSecret") else v for k, v in fields.items()}


@dataclasses.dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes = dataclasses.field(repr=False)  # may hold a token

    def json(self):
        return json.loads(self.body, object_hook=hiding)


def send(method, url, credentials=None, body=b"", headers=None, *, age=0, spoil=False, tampered=None):
    """Sends a request to API Gateway, signed as botocore signs it; unsigned without credentials. Age is how many seconds ago it
    was signed; with spoil, the signature is another one; tampered is sent in place of the body that was signed."""
    request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers or {})
    if credentials:
        moment = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        with unittest.mock.patch("botocore.auth.get_current_datetime", return_value=moment):
            botocore.auth.SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
    signed = dict(request.headers.items())
    if spoil:
        head, _, signature = signed["Authorization"].rpartition("=")
        signed["Authorization"] = head + "=" + signature[::-1]
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
    try:
        connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body if tampered is None else tampered, signed)
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()


class Principals:
    """Makes users and roles, each with a name of its own, in any account of the emulator."""

    def __init__(self, emulator):
        self._emulator = emulator
        self._numbers = itertools.count(1)

    def user(self, *statements, account=OWNER):
        """The credentials of a new user with these policy statements."""
        iam, name = self._iam(account), f"user{next(self._numbers)}"
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=document(*statements))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def role(self, *statements, managed=(), account=OWNER, trusts=None):
        """The ARN of a new role with these policy statements and managed policies; its own account may assume it, or the one given."""
        iam, name = self._iam(account), f"role{next(self._numbers)}"
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{trusts or account}:root"}}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="given", PolicyDocument=document(*statements))
        for policy in managed:
            iam.attach_role_policy(RoleName=name, PolicyArn=policy)
        return arn

    def assume(self, role_arn, by=None, name="session"):
        """The credentials of a session of the role, assumed by the one given or the root of the role's account."""
        by = by or self._emulator.root(role_arn.split(":")[4])
        got = self._emulator.client("sts", by).assume_role(RoleArn=role_arn, RoleSessionName=name)["Credentials"]
        return Credentials(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])

    def session(self, *statements, **more):
        """The credentials of a session of a new role."""
        return self.assume(self.role(*statements, **more))

    def _iam(self, account):
        return self._emulator.client("iam", self._emulator.root(account))


def document(*statements):
    """A policy document of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def wait_for(condition, seconds, what, pause=0.1):
    """Returns the condition's first true value; the error names the condition."""
    until = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(pause)
