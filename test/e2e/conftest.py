"""What the end-to-end tests share. `make e2e` runs them all; `test/e2e/run -k NAME` runs some.

Fixtures, all of the whole run; what they start is ended with it:

emulator        ministack (aws.Emulator): client(service, credentials), environment(credentials), root(account), endpoint
org             the simulated Salesforce org (salesforce.Org): add_app, regenerate, inject_fault, clear_faults, accepts(token), url, host, id
sam             the SAM CLI (deployment.Sam): deploy(template, name, account=…, **parameters) -> deployment.Stack
template        template.yaml as `sam build` has made it of a clean clone
stack           template.yaml, deployed in account 111111111111, admitting 222222222222 (deployment.Stack): outputs, resources,
                api_url, call(credentials, app, method, query)
put_secret      put_secret(app, value, labels=[...], prefix="sftoken/") stores a value in the app's secret, makes the secret where
                there is none, and returns the version id; the value is a dict, a text or an App of the org
new_app         new_app(name=None, rotates=False) adds an app to the org, stores its credentials, and returns the App; with rotates, the app
                may change its own credentials and rotation is switched on
crm             the App of the secret that the stack has made
environment     environment(credentials, **variables): that of a person with these credentials, or the owner's root, the AWS CLI and the SAM
                CLI
role_policy     role_policy(stack, role, name) is an inline policy of a deployed role (policies.RolePolicy), put back when the test ends
full, erp       the template deployed with every parameter set, and the App of its secret, whose credentials are changed by the admin app
admin           the credentials of a user who may do everything with any API of account 111111111111
principals      makes callers (aws.Principals): user(*statements), role(*statements), assume(role), session(*statements), each in any
                account; credentials are botocore's
"""

import itertools
import json
import pathlib
import signal
import tempfile
import uuid

import pytest

import aws
import deployment
import salesforce
from deployment import EVERYTHING
from policies import RolePolicy
from rotations import reaction, restart


def pytest_configure(config):
    # Ended from outside, the fixtures still end what they have started.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


@pytest.fixture(scope="session")
def directory():
    with tempfile.TemporaryDirectory(prefix="sftoken-e2e-") as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="session")
def emulator(directory):
    emulator = aws.Emulator(deployment.tool("SFTOKEN_MINISTACK_VENV", "ministack"), directory)
    yield emulator
    emulator.close()


@pytest.fixture(scope="session")
def org(directory):
    binary = directory / "org"
    deployment.run("go", "build", "-o", str(binary), "./test/e2e/org", env=None)
    org = salesforce.Org(binary)
    yield org
    org.close()


@pytest.fixture(scope="session")
def sam(emulator):
    return deployment.Sam(emulator, deployment.tool("SFTOKEN_SAM_VENV", "sam"))


@pytest.fixture(scope="session")
def template(sam, directory):
    return sam.build(deployment.clone(directory / "clone"), directory / "build")


@pytest.fixture(scope="session")
def principals(emulator):
    return aws.Principals(emulator)


@pytest.fixture(scope="session")
def admin(principals):
    return principals.user({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"})


@pytest.fixture(scope="session")
def stack(sam, template, emulator, org):
    stack = sam.deploy(template, "sftoken", Architecture=deployment.ARCHITECTURE, RotationSchedule="off",
                       AllowedAccounts=aws.CALLER, SalesforceHosts=org.host)
    hurry(emulator, stack)
    return stack


def hurry(emulator, stack):
    """Refused credentials may only be too new, which is waited for; from here on not for 10 minutes."""
    restart(emulator, stack, PROPAGATION="1s")


@pytest.fixture(scope="session")
def full(emulator, sam, template, org):
    zone = emulator.client("route53").create_hosted_zone(Name="example.com", CallerReference="full")["HostedZone"]["Id"]
    given = EVERYTHING | {"RotationSchedule": "off", "Architecture": deployment.ARCHITECTURE, "SalesforceHosts": org.host,
                          "HostedZoneId": zone.removeprefix("/hostedzone/")}
    given = {name: value for name, value in given.items() if name not in deployment.NOT_EMULATED}
    stack = sam.deploy(template, "full", **given)
    hurry(emulator, stack)
    return stack


@pytest.fixture(scope="session")
def erp(emulator, org, put_secret, full):
    prefix, app, admin = EVERYTHING["SecretPrefix"], org.add_app("full-erp"), org.add_app("full-admin", rotates=True)
    put_secret(EVERYTHING["AdminApp"], admin.value(org.url), prefix=prefix)
    stored = put_secret(EVERYTHING["AppName"], app.value(org.url, rotates=True), prefix=prefix)
    for version in stored, switch_rotation_on(emulator, full, prefix + EVERYTHING["AppName"]):
        reaction(full, version, "AWSCURRENT")  # so that the log is still
    return app


def switch_rotation_on(emulator, stack, secret):
    """What a RotationSchedule does, but for the schedule. The emulator makes a new version of it, with the same value; returns its
    id."""
    return emulator.client("secretsmanager").rotate_secret(
        SecretId=secret, RotationLambdaARN=stack.outputs["RotateFunctionArn"], RotateImmediately=False,
        ClientRequestToken=str(uuid.uuid4()))["VersionId"]


@pytest.fixture
def role_policy(emulator):
    policies = []

    def of(stack, role, name):
        policies.append(RolePolicy(emulator.client("iam"), stack, role, name))
        return policies[-1]

    yield of
    for policy in policies:
        policy.put(policy.document)


@pytest.fixture(scope="session")
def put_secret(emulator, org):
    secrets = emulator.client("secretsmanager")

    def put(app, value, labels=("AWSCURRENT",), prefix="sftoken/"):
        if isinstance(value, salesforce.App):
            value = value.value(org.url)
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            return secrets.put_secret_value(SecretId=prefix + app, SecretString=text, VersionStages=list(labels),
                                            ClientRequestToken=str(uuid.uuid4()))["VersionId"]
        except secrets.exceptions.ResourceNotFoundException:
            return secrets.create_secret(Name=prefix + app, SecretString=text)["VersionId"]

    return put


@pytest.fixture(scope="session")
def new_app(emulator, org, put_secret, stack):
    numbers = itertools.count(1)

    def new(name=None, rotates=False):
        app = org.add_app(name or f"app{next(numbers)}", rotates)
        put_secret(app.name, app.value(org.url, rotates))
        if rotates:
            switch_rotation_on(emulator, stack, "sftoken/" + app.name)
        return app

    return new


@pytest.fixture(scope="session")
def environment(emulator, directory):
    programs = directory / "aws-cli"
    programs.mkdir()
    (programs / "aws").symlink_to(deployment.tool("SFTOKEN_E2E_VENV", "aws"))
    (programs / "sam").symlink_to(deployment.tool("SFTOKEN_SAM_VENV", "sam"))

    def of(credentials=None, **variables):
        kept = emulator.environment(credentials)
        return kept | {"PATH": f"{programs}:{kept['PATH']}"} | variables

    return of


@pytest.fixture(scope="session")
def crm(new_app):
    return new_app("crm")
