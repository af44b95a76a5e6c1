"""examples/cross-account as its README describes it: the other account's role, and the callers.

The emulator shows an API to its own account alone. The caller's role is therefore made in the owner's account; the workload that
assumes it is of another one. test/examples has a principal of another account itself ask, at another gateway."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest

import aws
import deployment
from transform import transform

EXAMPLE = deployment.ROOT / "examples/cross-account"
SAYS = re.compile(r"\d+ of \d+ API requests are left today\n")
NEEDS = {"curl": ["curl", "jq"], "Python": ["python3"], "Node": ["node", "npm"], "Go": ["go"]}


def shell(commands, environment):
    """Runs commands where the README has them run."""
    return deployment.shell(commands, environment, EXAMPLE)


def commands_under(heading):
    """The commands under this heading of the README."""
    return deployment.run("test/readme-block", str(EXAMPLE / "README.md"), heading, env=None)


@pytest.fixture(scope="module")
def workload(principals):
    """A user of the caller's account that may assume roles."""
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    return principals.user(statement, account=aws.CALLER)


@pytest.fixture(scope="module")
def role_arn(stack, emulator, environment, workload):
    arn = emulator.client("sts", workload).get_caller_identity()["Arn"]
    done = shell(commands_under("Create the role"), environment(SFTOKEN_URL=stack.outputs["ApiUrl"], SFTOKEN_ACCOUNT=aws.OWNER, WORKLOAD="WorkloadArn=" + arn))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def session(environment, workload, role_arn):
    """The role's credentials, as the workload gets them."""
    show = '\nprintf "%s\\n" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN"'
    done = shell(commands_under("Assume the role") + show, environment(workload, ROLE_ARN=role_arn))
    assert done.returncode == 0, done.stderr
    return aws.Credentials(*done.stdout.split())


class Caller:
    """One of the example's callers."""

    def __init__(self, name, stack, environment):
        self._stack, self._environment = stack, environment
        self.commands = commands_under(name).splitlines()

    def install(self):
        """Its commands but for the last one, which runs it."""
        done = shell("\n".join(self.commands[:-1]), self._environment())
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, credentials, app="crm", **variables):
        """Runs it for an app, crm as the README has it."""
        command = re.sub(r"\bcrm$", app, self.commands[-1])
        return shell(command, self._environment(credentials, SFTOKEN_URL=self._stack.api_url, **variables))


@pytest.fixture(scope="module", params=NEEDS)
def caller(request, stack, environment):
    if missing := [program for program in NEEDS[request.param] if not shutil.which(program)]:
        pytest.skip(f"skipped: the {request.param} example: no {missing[0]} here")
    caller = Caller(request.param, stack, environment)
    caller.install()
    return caller


def test_a_caller_does_its_job(caller, crm, session):
    done = caller.run(session)
    assert done.returncode == 0, done.stderr
    assert SAYS.fullmatch(done.stdout)


@pytest.fixture(scope="module")
def other(new_app):
    return new_app("other").name


def test_a_caller_says_why_it_may_not(caller, session, other):
    done = caller.run(session, other)
    assert done.returncode == 1 and not done.stdout
    assert "not authorized" in done.stderr and "Traceback" not in done.stderr
    assert not leaks(done.stderr, key=session.secret_key, token=session.token)


def leaks(text, **secrets):
    """The names of those secrets that the text holds."""
    return [name for name, secret in secrets.items() if secret in text]


@pytest.mark.parametrize("method, app, status", [
    ("GET", "crm", 200), ("POST", "crm", 403), ("DELETE", "crm", 403), ("GET", "other", 403), ("DELETE", "other", 403), ("GET", "crm2", 403),
])
def test_the_role_gets_one_apps_tokens(stack, crm, other, session, method, app, status):
    assert stack.call(session, app, method).status == status


def test_only_the_workload_may_be_the_role(emulator, principals, role_arn):
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    for account in aws.CALLER, "333333333333":
        with pytest.raises(emulator.client("sts").exceptions.ClientError, match="AccessDenied"):
            principals.assume(role_arn, by=principals.user(statement, account=account))


def test_the_role_for_a_service_and_another_region():
    role = transform(EXAMPLE / "template.yaml", ApiUrl="https://abcdef1234.execute-api.eu-west-1.amazonaws.com/v1", ApiAccount="999999999999")["Role"]["Properties"]
    assert role["AssumeRolePolicyDocument"]["Statement"] == [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]
    assert role["Policies"][0]["PolicyDocument"]["Statement"] == [{
        "Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "arn:aws:execute-api:eu-west-1:999999999999:abcdef1234/v1/GET/tokens/crm",
    }]


@pytest.fixture
def app(new_app):
    """The name of an app without vended tokens. Its secret is created and not changed, so the rotate function is not invoked."""
    return new_app().name


def revoke(org, token):
    """Ends the token's session at Salesforce without sftoken's knowledge."""
    urllib.request.urlopen(org.url + "/services/oauth2/revoke", urllib.parse.urlencode({"token": token}).encode(), timeout=30).close()
    assert not org.accepts(token)


def vends(stack, app):
    """What the token function has written about the app: the outcomes, in order."""
    return [line["outcome"] for line in stack.log("TokenLogs") if line.get("msg") == "vend" and line["app"] == app]


def test_a_dead_token_is_replaced(caller, stack, org, app, admin):
    dead = stack.call(admin, app).json()
    revoke(org, dead["access_token"])
    done = caller.run(admin, app)
    assert done.returncode == 0, done.stderr
    assert SAYS.fullmatch(done.stdout)
    assert stack.call(admin, app).json()["token_id"] != dead["token_id"]
    # The dead one, the next one, and the two of this test.
    aws.wait_for(lambda: len(vends(stack, app)) >= 4, 60, "four lines of the audit log")
    assert vends(stack, app) == ["ok"] * 4


def test_a_token_that_is_alive_is_not_asked_for_again_and_again(caller, stack, org, app, admin):
    """Salesforce says the same 401 for other reasons: then the caller says so, after it has asked once."""
    org.inject_fault("rest", "401 INVALID_SESSION_ID Session expired or invalid")
    try:
        done = caller.run(admin, app)
    finally:
        org.clear_faults()
    assert done.returncode == 1 and not done.stdout
    aws.wait_for(lambda: len(vends(stack, app)) >= 2, 60, "two lines of the audit log")
    assert len(vends(stack, app)) == 2


def test_a_pause_of_salesforce_is_waited_for(caller, stack, org, app, admin):
    org.inject_fault("token", "503 with a web page")
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = pool.submit(caller.run, admin, app)
            aws.wait_for(lambda: vends(stack, app) or running.done(), 60, "the caller's first try")
            org.clear_faults()
            done = running.result()
    finally:
        org.clear_faults()
    assert done.returncode == 0, done.stderr
    assert SAYS.fullmatch(done.stdout)
    aws.wait_for(lambda: "ok" in vends(stack, app), 60, "the line of the last try")
    assert vends(stack, app)[0] != "ok"


ONCE = {
    "Python": ("python/.venv/bin/python", "-c", """
import os, sys
sys.path.insert(0, "python")
import sftoken
tokens = sftoken.Tokens(os.environ["SFTOKEN_URL"], os.environ["APP"])
print({sftoken.call(tokens, "GET", "/services/data/v65.0/limits").status_code for _ in range(3)})
"""),
    "Node": ("node", "--input-type=module", "--eval", """
import { call, Tokens } from "./node/sftoken.js";
const tokens = new Tokens(process.env.SFTOKEN_URL, process.env.APP);
const responses = await Promise.all([1, 2, 3].map(() => call(tokens, "/services/data/v65.0/limits")));
console.log(new Set(responses.map((response) => response.status)));
"""),
}


@pytest.mark.parametrize("name", ONCE)
def test_a_token_is_kept(name, environment, stack, app, admin):
    """What a program copies from the example asks once for several requests."""
    if missing := [program for program in NEEDS[name] if not shutil.which(program)]:
        pytest.skip(f"skipped: the {name} example: no {missing[0]} here")
    Caller(name, stack, environment).install()
    done = subprocess.run(ONCE[name], env=environment(admin, SFTOKEN_URL=stack.api_url, APP=app), cwd=EXAMPLE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "200" in done.stdout, done.stderr
    aws.wait_for(lambda: vends(stack, app), 60, "a line of the audit log")
    assert vends(stack, app) == ["ok"]


def test_nothing_secret_is_in_curls_arguments(stack, environment, session, crm, directory):
    real, wrapped = shutil.which("curl"), directory / "curl"
    if not real or not shutil.which("jq"):
        pytest.skip("skipped: the curl example: no curl or jq here")
    wrapped.mkdir()
    seen = wrapped / "arguments"
    (wrapped / "curl").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{seen}"\nexec "{real}" "$@"\n')
    (wrapped / "curl").chmod(0o755)
    done = Caller("curl", stack, environment).run(session, PATH=f"{wrapped}:{os.environ['PATH']}")
    assert SAYS.fullmatch(done.stdout), done.stderr
    token = stack.call(session).json()["access_token"]
    assert "/tokens/crm" in seen.read_text() and "/limits" in seen.read_text()
    assert not leaks(seen.read_text(), key=session.secret_key, session=session.token, token=token)


def test_a_principal_of_another_account_itself():
    """The emulator cannot have one; the gateway of `sftoken local` can."""
    print(deployment.run("test/examples", env=None))
