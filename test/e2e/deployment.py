"""The SAM CLI, and the stacks that it deploys to the emulator."""

import dataclasses
import json
import os
import pathlib
import platform
import shutil
import subprocess

from aws import OWNER, REGION, send

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
VERSION = "v0.0.0-e2e"  # the tag of each clone
ARCHITECTURE = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "arm64"

# Every parameter, with another value than its default, but for those that these refuse.
EVERYTHING = {
    "AppName": "erp", "SecretPrefix": "salesforce/", "AllowedAccounts": "222222222222,333333333333", "OrganizationId": "o-abcdefghij",
    "ForeignRevoke": "on", "LoginBurst": 40, "LoginsPerHour": 3600, "ApiRateLimit": 50.5, "ApiBurstLimit": 500, "RotateReservedConcurrency": 10,
    "RunbookUrl": "https://wiki.example.com/salesforce/runbook.md",
    "RotationSchedule": "cron(0 3 1 * ? *)", "AdminApp": "admin", "SalesforceHosts": "sf.example.com:8443", "Prefetch": "crm,erp",
    "Architecture": "x86_64", "AlarmEmail": "team@example.com", "ProbeSchedule": "cron(0 3 * * ? *)", "LogRetentionDays": 30, "ReservedConcurrency": 20,
    "ProvisionedConcurrency": 2, "SharedTokens": "on", "ApiLogRole": "existing",
    "PermissionsBoundary": "arn:aws:iam::aws:policy/PowerUserAccess",
    "CodeSigningConfigArn": "arn:aws:lambda:us-east-1:111111111111:code-signing-config:csc-0123456789abcdef0",
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1", "SecurityGroupIds": "sg-0123456789abcdef0",
    "DomainName": "tokens.example.com", "CertificateArn": "arn:aws:acm:us-east-1:111111111111:certificate/01234567-89ab-cdef-0123-456789abcdef",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ", "WebAclArn": "arn:aws:wafv2:us-east-1:111111111111:regional/webacl/acl/01234567-89ab-cdef-0123-456789abcdef",
    "Tracing": "on", "DeploymentPreference": "Canary10Percent5Minutes", "ReplicaRegions": "eu-west-1,eu-central-1",
    "ReplicaKeyArns": "arn:aws:kms:eu-west-1:111111111111:key/01234567-89ab-cdef-0123-456789abcdef,"
                      "arn:aws:kms:eu-central-1:111111111111:key/01234567-89ab-cdef-0123-456789abcdef",
}
# Those: a private API has no public domain name, and a standby stack no secret of its own.
PRIVATE = {"EndpointType": "PRIVATE", "VpcEndpointIds": "vpce-0123456789abcdef0,vpce-0123456789abcdef1"}
STANDBY = {"Standby": "true"}
# What the emulator cannot deploy: it has neither CodeDeploy nor the association of a web ACL.
NOT_EMULATED = {"DeploymentPreference", "WebAclArn"}


def tool(variable, name, program=None):
    """A program of the environment that test/e2e/run has made and named in this variable."""
    return str(ROOT / os.environ.get(variable, ".venv-" + name) / "bin" / (program or name))


def run(*command, env, cwd=ROOT, timeout=600):
    """Runs a command and returns what it has written; its failure shows the same."""
    done = subprocess.run(command, env=env, cwd=cwd, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


PARTITIONS = ("us-east-1", "us-gov-west-1", "cn-north-1")  # a region in each of AWS's partitions


def cfn_lint(*paths, regions=()):
    """cfn-lint of templates, in these regions or its default one."""
    run(tool("SFTOKEN_SAM_VENV", "sam", "cfn-lint"), "-t", *map(str, paths), *(["--regions", *regions] if regions else []), env=plain())


def checkov(path, kind="-f"):
    """checkov of a template, or with kind -d of those in a directory."""
    run(tool("SFTOKEN_CHECKOV_VENV", "checkov"), kind, str(path), "--framework", "cloudformation", "--quiet", "--compact", "--skip-download",
        env=plain())


def shell(commands, environment, cwd=ROOT):
    """Runs commands as a person types them, in one shell that ends at the first failure; returns what came of it."""
    return subprocess.run(["bash", "-euo", "pipefail", "-c", commands], env=environment, cwd=cwd, capture_output=True, text=True, timeout=600)


def plain():
    """The environment without what is set for other tools of AWS."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SFTOKEN_"))}


def clone(directory):
    """A clean clone of the project as it is now. Each has the same commit, whose tag the builds take their version from."""
    ignored = shutil.ignore_patterns(".git", ".venv*", ".aws-sam", "dist", "bin", "__pycache__", "node_modules")
    shutil.copytree(ROOT, directory, ignore=ignored, symlinks=True)
    env = plain() | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for who in "AUTHOR", "COMMITTER":
        env |= {f"GIT_{who}_NAME": "e2e", f"GIT_{who}_EMAIL": "e2e@example.com", f"GIT_{who}_DATE": "2026-01-01T00:00:00Z"}
    for command in ("init",), ("add", "."), ("commit", "--message", "e2e"), ("tag", VERSION):
        run("git", *command, env=env, cwd=directory)
    return pathlib.Path(directory)


@dataclasses.dataclass
class Stack:
    """A deployed stack."""

    name: str
    outputs: dict
    resources: dict  # physical ids by logical id
    emulator: object = dataclasses.field(repr=False)
    region: str = REGION

    @property
    def api_url(self):
        """Where the emulator serves the stack's API, in place of the output ApiUrl."""
        return f"{self.emulator.endpoint}/restapis/{self.outputs['ApiId']}/v1/_user_request_"

    def call(self, credentials, app="crm", method="GET", query="", **more):
        """Asks the API for an app's token, or with DELETE revokes it; more is aws.send's."""
        return send(method, f"{self.api_url}/tokens/{app}{query}", credentials, **more)

    def log(self, group):
        """The JSON lines in the log group with this logical id, in the order of their arrival."""
        logs, name = self.emulator.client("logs", region=self.region), self.resources[group]
        lines = []
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=name):
            lines += [json.loads(event["message"]) for event in page["events"] if event["message"].startswith("{")]
        return lines


def invoke(stack, *paths):
    """A statement that allows these methods and paths of the stack's API: GET/tokens/crm."""
    api = f"arn:aws:execute-api:{REGION}:{OWNER}:{stack.outputs['ApiId']}/v1/"
    return {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": [api + path for path in paths]}


class Sam:
    """The SAM CLI against the emulator."""

    def __init__(self, emulator, program):
        self._emulator, self._program = emulator, program

    def validate(self, template):
        """sam validate --lint, which is cfn-lint on the transformed template."""
        environment = self._environment(OWNER)
        del environment["AWS_ENDPOINT_URL"]
        return run(self._program, "validate", "--lint", "--template", str(template), env=environment)

    def build(self, source, directory, **environment):
        """sam build in the source; returns the template to deploy."""
        env = self._environment(OWNER) | {"ARCH": ARCHITECTURE} | environment
        run(self._program, "build", "--build-dir", str(directory), env=env, cwd=source)
        return directory / "template.yaml"

    def deploy(self, template, name, account=OWNER, region=REGION, capabilities=("CAPABILITY_IAM",), tags=(), **parameters):
        """sam deploy of the template, by the root of the account, with tags as name=value; returns the Stack."""
        self._deploy(template, name, account, region, capabilities, tags, parameters)
        return self.stack(name, account, region)

    def deploy_again(self, template, stack):
        """sam deploy of a template over a stack, with the parameters that it has; returns what the command writes."""
        return self._deploy(template, stack.name, OWNER, REGION, ("CAPABILITY_IAM",), (), {})

    def _deploy(self, template, name, account, region, capabilities, tags, parameters):
        command = [self._program, "deploy", "--template", str(template), "--stack-name", name, "--resolve-s3", "--no-confirm-changeset",
                   "--no-fail-on-empty-changeset", "--capabilities", *capabilities]
        if parameters:
            command += ["--parameter-overrides", *(f"ParameterKey={k},ParameterValue={json.dumps(str(v))}" for k, v in parameters.items())]
        if tags:
            command += ["--tags", *tags]
        # Outside the project: its samconfig.toml is for its own stack.
        env = self._environment(account) | {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        return run(*command, env=env, cwd=pathlib.Path(template).parent)

    def stack(self, name, account=OWNER, region=REGION):
        """A stack that has been deployed."""
        cloudformation = self._emulator.client("cloudformation", self._emulator.root(account), region)
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        return Stack(name, {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])},
                     {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}, self._emulator, region)

    def _environment(self, account):
        return self._emulator.environment(self._emulator.root(account))
