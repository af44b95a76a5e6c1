"""What each policy of the template allows and what it does not: every statement, action, resource and condition is there for a
reason, and taking it away breaks one of the lines below.

The lines are asked twice. Of an evaluator (policies.py), against the template as SAM expands it, with every mutant of every policy:
here. And of the emulator, where it enforces the policy: in test_enforcement.py. The emulator does not enforce what one AWS service
may do to another (key, queue, function and trust policies for a service), nor conditions that only AWS fills in (kms:ViaService,
aws:SourceArn): for these the lines say what AWS documents, and only the evaluator is asked.
"""

import dataclasses
import json
import re

import pytest

import deployment
from combinations import given
from deployment import EVERYTHING, PRIVATE, TEMPLATE
from policies import CHECKED, DESCRIBE, ITEMS, LIST, READ, TAG, WRITE, decision, listed, mutants
from transform import transform

HERE = "us-east-1:111111111111"
API = f"arn:aws:execute-api:{HERE}:Api"
SECRETS = f"arn:aws:secretsmanager:{HERE}:secret:"
LOGS = f"arn:aws:logs:{HERE}:log-group:"

# What Fn::GetAtt returns for the template's resources.
ARNS = {
    "Key.Arn": f"arn:aws:kms:{HERE}:key/sftoken", "DeadLetters.Arn": f"arn:aws:sqs:{HERE}:dead-letters",
    "TokenLogs.Arn": LOGS + "token:*", "RotateLogs.Arn": LOGS + "rotate:*", "ProbeLogs.Arn": LOGS + "probe:*",
    "RotateFunctionLabelMoved.Arn": f"arn:aws:events:{HERE}:rule/moved", "RotateFunctionCheck.Arn": f"arn:aws:events:{HERE}:rule/check",
    "RotateFunction.Arn": f"arn:aws:lambda:{HERE}:function:RotateFunction", "ProbeFunctionProbe.Arn": f"arn:aws:events:{HERE}:rule/probe",
    "TokenTable.Arn": f"arn:aws:dynamodb:{HERE}:table/sftoken-TokenTable",
    "TokenFunction.Arn": f"arn:aws:lambda:{HERE}:function:TokenFunction",
}
KEY, QUEUE, ROTATE, TABLE = ARNS["Key.Arn"], ARNS["DeadLetters.Arn"], ARNS["RotateFunction.Arn"], ARNS["TokenTable.Arn"]


@dataclasses.dataclass
class Ask:
    policy: str
    action: str
    resource: str
    allowed: bool
    by: str = ""
    context: dict = dataclasses.field(default_factory=dict)
    denied: bool | None = None  # if not allowed: by a Deny, or by no statement, so that another policy may allow it; None - either

    def __str__(self):
        verb = "allows" if self.allowed else {None: "refuses", True: "denies", False: "leaves open"}[self.denied]
        return f"{self.policy} {verb} {self.action} on {self.resource} {self.by} {self.context or ''}".strip()


def via(service):
    return {"kms:ViaService": f"{service}.us-east-1.amazonaws.com"}


def yes(policy, actions, resource, by="", **context):
    return [Ask(policy, action, resource, True, by, context.get("context", {})) for action in actions]


def no(policy, actions, resource, by="", **context):
    return [Ask(policy, action, resource, False, by, context.get("context", {})) for action in actions]


def denies(policy, actions, resource, by, context):
    return [Ask(policy, action, resource, False, by, context, True) for action in actions]


def leaves_open(policy, actions, resource, by, context):
    return [Ask(policy, action, resource, False, by, context, False) for action in actions]


NEVER = tuple(f"secretsmanager:{name}" for name in (
    "CreateSecret", "DeleteSecret", "UpdateSecret", "RotateSecret", "CancelRotateSecret", "PutResourcePolicy", "UntagResource",
    "BatchGetSecretValue", "RestoreSecret", "ReplicateSecretToRegions"))
NEVER_THE_TABLE = tuple(f"dynamodb:{name}" for name in (
    "PutItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem", "DescribeTable", "UpdateTable", "DeleteTable", "PutResourcePolicy"))
LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
INVOKE = ("lambda:InvokeFunction",)
CALL = ("execute-api:Invoke",)


def role(policy, logs, other_logs, secrets, keys, never):
    """What both functions' roles have in common. Logs are written by Lambda with the role of the function. Sources: Lambda
    Developer Guide, "Sending Lambda function logs to CloudWatch Logs"; Secrets Manager User Guide, "Secret encryption and decryption": Secrets Manager uses the key as its caller."""
    return [
        *yes(policy, secrets, SECRETS + "sftoken/crm-AbCdEf"), *yes(policy, secrets, SECRETS + "sftoken/added-later-AbCdEf"),
        *no(policy, secrets, SECRETS + "other-AbCdEf"), *no(policy, secrets, SECRETS + "sftoken-AbCdEf"),
        *no(policy, secrets, "arn:aws:secretsmanager:us-east-1:222222222222:secret:sftoken/crm-AbCdEf"),
        *no(policy, never, SECRETS + "sftoken/crm-AbCdEf"),
        *key_through("secretsmanager", policy, keys),
        *yes(policy, LOG, LOGS + logs + ":log-stream:a"), *no(policy, LOG, LOGS + other_logs + ":log-stream:a"),
        *no(policy, ("logs:CreateLogGroup", "logs:DeleteLogStream", "logs:GetLogEvents"), LOGS + logs + ":log-stream:a"),
        *no(policy, CALL, API + "/v1/GET/tokens/crm"), *no(policy, INVOKE, ROTATE),
    ]


def key_through(name, policy, keys):
    """The key is used through one service of the region, and not in another way."""
    return [
        *yes(policy, keys, KEY, context=via(name)),
        *yes(policy, keys, KEY, context={"kms:ViaService": f"{name}.us-east-1.amazonaws.com.cn"}),  # as it is called in China
        *no(policy, keys, KEY, context={"kms:ViaService": f"{name}.us-west-2.amazonaws.com"}),
        *no(policy, keys, KEY), *no(policy, keys, KEY, context=via("s3")), *no(policy, keys, KEY + "x", context=via(name)),
        *no(policy, ("kms:Encrypt", "kms:CreateGrant", "kms:ScheduleKeyDeletion", "kms:PutKeyPolicy"), KEY, context=via(name)),
    ]


def service(policy, action, resource, by, allowed, refused):
    """A service may do it in the contexts allowed, and not in those refused; no other service may, and it may do nothing else and
    to nothing else."""
    return [
        *(ask for context in allowed for ask in yes(policy, (action,), resource, by, context=context)),
        *(ask for context in refused for ask in no(policy, (action,), resource, by, context=context)),
        *no(policy, (action,), resource, "s3.amazonaws.com", context=allowed[0]),
        *no(policy, (action + "More",), resource, by, context=allowed[0]),
        *(no(policy, (action,), resource + "-other", by, context=allowed[0]) if resource and policy != "Key" else ()),
    ]


def source(arn):
    return {"aws:SourceArn": arn}


OURS, THEIRS = {"aws:SourceAccount": "111111111111"}, {"aws:SourceAccount": "222222222222"}
RULES = [source(ARNS["RotateFunctionLabelMoved.Arn"]), source(ARNS["RotateFunctionCheck.Arn"])]
OTHER_RULE = source(f"arn:aws:events:{HERE}:rule/other")
FOREIGN, STRANGER, OWN = (f"arn:aws:iam::{account}:role/app" for account in ("222222222222", "333333333333", "111111111111"))


def principal(arn, organization=None, endpoint=None):
    """What AWS says about a caller, and about the VPC endpoint of the request."""
    context = {"aws:PrincipalAccount": arn.split(":")[4]} | ({"aws:SourceVpce": endpoint} if endpoint else {})
    return context | ({"aws:PrincipalOrgID": organization} if organization else {})


# What Lambda does with a function's role to connect the function to a VPC. Sources: as in the template.
INTERFACES = tuple(f"ec2:{name}" for name in (
    "CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface", "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses"))
REPLICATE, REPLICA_KEYS = ("kms:Encrypt", "kms:GenerateDataKey"), EVERYTHING["ReplicaKeyArns"].split(",")
TRACES = ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
TOKEN = ARNS["TokenFunction.Arn"]
OUR_ENDPOINTS, OTHER_ENDPOINT = PRIVATE["VpcEndpointIds"].split(","), "vpce-0123456789abcdef9"


ASKS = [
    *role("TokenRole", "token", "rotate", READ, ("kms:Decrypt",), DESCRIBE + WRITE + NEVER),
    *no("TokenRole", TAG, SECRETS + "sftoken/crm-AbCdEf", context={"aws:TagKeys": [CHECKED]}),
    *no("TokenRole", LIST, "*"), *no("TokenRole", ("kms:GenerateDataKey",), KEY, context=via("secretsmanager")),
    *no("TokenRole", ("sqs:SendMessage",), QUEUE),
    *no("TokenRole", ITEMS, TABLE), *no("TokenRole", ("kms:Decrypt",), KEY, context=via("dynamodb")),

    # What SharedTokens adds. DynamoDB decrypts a table's key as the principal that reads or writes the table, and does nothing else as
    # this principal. Source: DynamoDB Developer Guide, "DynamoDB encryption at rest usage notes".
    *yes("TokenRole token-table", ITEMS, TABLE), *no("TokenRole token-table", ITEMS, TABLE + "2"),
    *no("TokenRole token-table", ITEMS, TABLE.replace("111111111111", "222222222222")),
    *no("TokenRole token-table", NEVER_THE_TABLE, TABLE),
    *key_through("dynamodb", "TokenRole token-table", ("kms:Decrypt",)),
    *no("TokenRole token-table", ("kms:GenerateDataKey", "kms:DescribeKey"), KEY, context=via("dynamodb")),
    *no("TokenRole token-table", ("kms:Decrypt",), KEY, context=via("secretsmanager")),

    *role("RotateRole", "rotate", "token", READ + DESCRIBE + WRITE, ("kms:Decrypt", "kms:GenerateDataKey"), NEVER),
    *yes("RotateRole", LIST, "*"),  # the daily check finds the apps, and tags them with its result
    *yes("RotateRole", TAG, SECRETS + "sftoken/crm-AbCdEf", context={"aws:TagKeys": [CHECKED]}),
    *no("RotateRole", TAG, SECRETS + "other-AbCdEf", context={"aws:TagKeys": [CHECKED]}),
    *(ask for keys in (["team"], [CHECKED, "team"], ["sftoken:checked2"]) for ask in no(
        "RotateRole", TAG, SECRETS + "sftoken/crm-AbCdEf", context={"aws:TagKeys": keys})),
    *no("RotateRole", TAG, SECRETS + "sftoken/crm-AbCdEf"),
    # Lambda sends what failed with the role of the function. Source: Lambda Developer Guide, "Adding a destination".
    *yes("RotateRole", ("sqs:SendMessage",), QUEUE), *no("RotateRole", ("sqs:SendMessage",), QUEUE + "-other"),
    *no("RotateRole", ("sqs:ReceiveMessage", "sqs:DeleteMessage"), QUEUE),

    # The probe is a caller of one app, which cannot end the token of the others, and reads no secret. Its own denied call is for another app.
    *yes("ProbeRole", CALL, API + "/v1/GET/tokens/crm"),
    *(ask for path in ("POST/tokens/crm", "DELETE/tokens/crm", "GET/tokens/probe-denied", "GET/tokens/crm2", "GET/tokens/erp", "GET/tokens/*")
      for ask in no("ProbeRole", CALL, f"{API}/v1/{path}")),
    *no("ProbeRole", CALL, API + "2/v1/GET/tokens/crm"), *no("ProbeRole", CALL, API + "/test/GET/tokens/crm"),
    *no("ProbeRole", ("execute-api:ManageConnections",), API + "/v1/GET/tokens/crm"),
    *no("ProbeRole", READ + DESCRIBE + WRITE + NEVER, SECRETS + "sftoken/crm-AbCdEf"), *no("ProbeRole", LIST, "*"),
    *no("ProbeRole", ("kms:Decrypt",), KEY, context=via("secretsmanager")), *no("ProbeRole", ITEMS, TABLE), *no("ProbeRole", INVOKE, ROTATE),
    *no("ProbeRole", ("sqs:SendMessage",), QUEUE),
    *yes("ProbeRole", LOG, LOGS + "probe:log-stream:a"), *no("ProbeRole", LOG, LOGS + "token:log-stream:a"),
    *no("ProbeRole", ("logs:CreateLogGroup", "logs:DeleteLogStream", "logs:GetLogEvents"), LOGS + "probe:log-stream:a"),

    # The function's code, which has the same credentials, may do nothing with interfaces.
    *(ask for name in ("TokenRole", "RotateRole", "ProbeRole") for ask in [
        *yes(name + " vpc", INTERFACES, "*"),
        *no(name + " vpc", INTERFACES, "*", context={"lambda:SourceFunctionArn": TOKEN}),
        *no(name + " vpc", ("ec2:DescribeInstances", "ec2:CreateSecurityGroup", "ec2:RunInstances", "ec2:ModifyNetworkInterfaceAttribute"), "*"),
        *yes(name + " xray", TRACES, "*"), *no(name + " xray", ("xray:GetTraceSummaries", "xray:BatchGetTraces", "xray:UpdateSamplingRule"), "*"),
    ]),

    # The replicas' keys, through Secrets Manager in whichever region it works, and not to read what they encrypt.
    *(ask for key in REPLICA_KEYS for ask in [
        *yes("RotateRole replicas", REPLICATE, key, context=via("secretsmanager")),
        *yes("RotateRole replicas", REPLICATE, key, context={"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}),
        *yes("RotateRole replicas", REPLICATE, key, context={"kms:ViaService": "secretsmanager.cn-north-1.amazonaws.com.cn"}),
        *no("RotateRole replicas", REPLICATE, key), *no("RotateRole replicas", REPLICATE, key, context=via("s3")),
        *no("RotateRole replicas", REPLICATE, key + "0", context=via("secretsmanager")),
        *no("RotateRole replicas", ("kms:Decrypt", "kms:CreateGrant", "kms:PutKeyPolicy"), key, context=via("secretsmanager")),
    ]),
    *no("RotateRole", REPLICATE, REPLICA_KEYS[0], context=via("secretsmanager")),

    # CodeDeploy moves the alias of this function. Source: AWS Managed Policy Reference, "AWSCodeDeployRoleForLambdaLimited"; Service
    # Authorization Reference, "Actions, resources, and condition keys for AWS Lambda": an alias is changed as its function.
    *yes("CodeDeployRole shift-traffic", ("lambda:GetAlias", "lambda:UpdateAlias"), TOKEN),
    *yes("CodeDeployRole shift-traffic", ("lambda:GetProvisionedConcurrencyConfig",), TOKEN + ":live"),
    *yes("CodeDeployRole shift-traffic", ("cloudwatch:DescribeAlarms",), "*"),
    *no("CodeDeployRole shift-traffic", ("lambda:UpdateAlias",), ROTATE), *no("CodeDeployRole shift-traffic", ("lambda:UpdateAlias",), TOKEN + "2"),
    *no("CodeDeployRole shift-traffic", ("lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:DeleteAlias", *INVOKE), TOKEN),
    *no("CodeDeployRole shift-traffic", ("cloudwatch:PutMetricAlarm", "cloudwatch:DisableAlarmActions", "s3:GetObject", "sns:Publish"), "*"),
    *service("CodeDeployRole trust", "sts:AssumeRole", "", "codedeploy.amazonaws.com", [{}], []),

    # Which service may take a role.
    *(ask for name in ("TokenRole", "RotateRole", "ProbeRole") for ask in service(
        name + " trust", "sts:AssumeRole", "", "lambda.amazonaws.com", [{}], [])),
    *service("ApiLoggingRole trust", "sts:AssumeRole", "", "apigateway.amazonaws.com", [{}], []),

    # Every principal in the account, as far as identity policies allow; none elsewhere.
    *yes("Key", ("kms:DescribeKey", "kms:Decrypt", "kms:PutKeyPolicy"), KEY, OWN), *no("Key", ("kms:DescribeKey", "kms:Decrypt"), KEY, FOREIGN),
    *service("Key", "kms:Decrypt", KEY, "cloudwatch.amazonaws.com", [OURS], [THEIRS, {}]),
    *service("Key", "kms:GenerateDataKey", KEY, "cloudwatch.amazonaws.com", [OURS], [THEIRS, {}]),

    *service("DeadLettersPolicy", "sqs:SendMessage", QUEUE, "events.amazonaws.com", RULES, [OTHER_RULE, {}]),
    *no("DeadLettersPolicy", ("sqs:SendMessage",), QUEUE, FOREIGN, context=RULES[0]),

    *service("RotatePermission", "lambda:InvokeFunction", ROTATE, "secretsmanager.amazonaws.com", [OURS], [THEIRS, {}]),
    *service("RotateFunctionLabelMovedPermission", "lambda:InvokeFunction", ROTATE, "events.amazonaws.com", RULES[:1], [RULES[1], {}]),
    *service("RotateFunctionCheckPermission", "lambda:InvokeFunction", ROTATE, "events.amazonaws.com", RULES[1:], [RULES[0], {}]),
    *service("ProbeFunctionProbePermission", "lambda:InvokeFunction", "ProbeFunction", "events.amazonaws.com",
             [source(ARNS["ProbeFunctionProbe.Arn"])], [*RULES, {}]),
    *(ask for method in ("Get", "Post", "Delete") for ask in service(
        f"TokenFunction{method}Permissionv1", "lambda:InvokeFunction", "TokenFunctionAliaslive", "apigateway.amazonaws.com",
        [source(f"{API}/v1/{method.upper()}/tokens/{{app}}")], [source(f"{API}/v1/PUT/tokens/{{app}}"), source(API + "2/v1/GET/tokens/crm"), {}])),

    *yes("CallerPolicy", CALL, API + "/v1/GET/tokens/crm"), *yes("CallerPolicy", CALL, API + "/v1/POST/tokens/crm"),
    *no("CallerPolicy", CALL, API + "/v1/DELETE/tokens/crm"), *no("CallerPolicy", CALL, API + "/v1/GET/tokens/erp"),
    *no("CallerPolicy", CALL, API + "/v1/POST/tokens/crm2"), *no("CallerPolicy", CALL, API + "2/v1/GET/tokens/crm"),
    *no("CallerPolicy", ("execute-api:ManageConnections",), API + "/v1/GET/tokens/crm"), *no("CallerPolicy", INVOKE, ROTATE),

    # The owner's account is let in by identity policies alone, even where a parameter names it.
    *no("Api", CALL, API + "/v1/GET/tokens/crm", OWN, context=principal(OWN)),
    *no("Api", CALL, API + "/v1/GET/tokens/crm", FOREIGN, context=principal(FOREIGN)),
    *(ask for method in ("GET", "POST") for ask in yes(
        "Api with accounts", CALL, f"{API}/v1/{method}/tokens/crm", FOREIGN, context=principal(FOREIGN))),
    # Revoking ends every other caller's token: other accounts may not, unless a parameter lets them.
    *no("Api with accounts", CALL, API + "/v1/DELETE/tokens/crm", FOREIGN, context=principal(FOREIGN)),
    *no("Api with organization", CALL, API + "/v1/DELETE/tokens/crm", STRANGER, context=principal(STRANGER, "o-abcdefghij")),
    *(ask for method in ("GET", "POST", "DELETE") for ask in [
        *yes("Api that others may revoke by", CALL, f"{API}/v1/{method}/tokens/crm", FOREIGN, context=principal(FOREIGN)),
        *yes("Api that others may revoke by", CALL, f"{API}/v1/{method}/tokens/crm", STRANGER, context=principal(STRANGER, "o-abcdefghij")),
        *no("Api that others may revoke by", CALL, f"{API}/v1/{method}/tokens/crm", OWN, context=principal(OWN, "o-abcdefghij")),
        *no("Api that others may revoke by", CALL, f"{API}/v1/{method}/tokens/crm", STRANGER, context=principal(STRANGER)),
        *no("Api that others may revoke by", CALL, f"{API}/test/{method}/tokens/crm", FOREIGN, context=principal(FOREIGN, "o-abcdefghij")),
    ]),
    *yes("Api with accounts", CALL, API + "/v1/GET/tokens/crm", "arn:aws:iam::444444444444:role/app", context=principal("::::444444444444")),
    *no("Api with accounts", CALL, API + "/v1/GET/tokens/crm", STRANGER, context=principal(STRANGER, "o-abcdefghij")),
    *no("Api with accounts", CALL, API + "/v1/GET/tokens/crm", OWN, context=principal(OWN, "o-abcdefghij")),
    *no("Api with accounts", CALL, API + "/test/GET/tokens/crm", FOREIGN, context=principal(FOREIGN)),
    *no("Api with accounts", ("execute-api:ManageConnections",), API + "/v1/GET/tokens/crm", FOREIGN, context=principal(FOREIGN)),
    *(ask for method in ("GET", "POST") for ask in yes(
        "Api with organization", CALL, f"{API}/v1/{method}/tokens/crm", STRANGER, context=principal(STRANGER, "o-abcdefghij"))),
    *no("Api with organization", CALL, API + "/v1/GET/tokens/crm", STRANGER, context=principal(STRANGER, "o-0000000000")),
    *no("Api with organization", CALL, API + "/v1/GET/tokens/crm", STRANGER, context=principal(STRANGER)),
    *no("Api with organization", CALL, API + "/v1/GET/tokens/crm", OWN, context=principal(OWN, "o-abcdefghij")),
    *no("Api with organization", CALL, API + "/test/GET/tokens/crm", STRANGER, context=principal(STRANGER, "o-abcdefghij")),

    # A private API refuses each principal that comes through another endpoint, or through none, whatever its policies are. Through its
    # own endpoints it is as open as a public one. The owner's principals need their identity policies in addition.
    *(ask for by in (OWN, FOREIGN, STRANGER) for endpoint in (OTHER_ENDPOINT, None) for method in ("GET", "POST", "DELETE") for ask in denies(
        "private Api", CALL, f"{API}/v1/{method}/tokens/crm", by, principal(by, "o-abcdefghij", endpoint))),
    *denies("private Api", CALL, API + "/v2/GET/other", OWN, principal(OWN)),
    *(ask for endpoint in OUR_ENDPOINTS for ask in [
        *leaves_open("private Api", CALL, API + "/v1/GET/tokens/crm", OWN, principal(OWN, None, endpoint)),
        *leaves_open("private Api", CALL, API + "/v1/DELETE/tokens/crm", OWN, principal(OWN, "o-abcdefghij", endpoint)),
        *yes("private Api", CALL, API + "/v1/GET/tokens/crm", FOREIGN, context=principal(FOREIGN, None, endpoint)),
        *yes("private Api", CALL, API + "/v1/POST/tokens/crm", FOREIGN, context=principal(FOREIGN, None, endpoint)),
        *no("private Api", CALL, API + "/v1/DELETE/tokens/crm", FOREIGN, context=principal(FOREIGN, None, endpoint)),
        *no("private Api", CALL, API + "/v2/GET/tokens/crm", FOREIGN, context=principal(FOREIGN, None, endpoint)),
        *no("private Api", CALL, API + "/v1/GET/tokens/crm", STRANGER, context=principal(STRANGER, None, endpoint)),
    ]),
    *leaves_open("private Api", CALL, API + "2/v1/GET/tokens/crm", OWN, principal(OWN)),
]


POLICIES = {"token": "TokenRole", "rotate": "RotateRole", "probe": "ProbeRole"}  # what each role has, whatever the other parameters are


def policies_of(resources):
    """Every policy document in the resources, by the name that the lines above use."""
    found = {}
    for name, r in resources.items():
        p = r["Properties"]
        match r["Type"]:
            case "AWS::IAM::Role":
                found[name + " trust"] = p["AssumeRolePolicyDocument"]
                for policy in p.get("Policies", []):
                    found[POLICIES.get(policy["PolicyName"], f"{name} {policy['PolicyName']}")] = policy["PolicyDocument"]
            case "AWS::KMS::Key":
                found[name] = p["KeyPolicy"]
            case "AWS::ApiGateway::RestApi":
                found[name] = p["Body"]["x-amazon-apigateway-policy"]
            case "AWS::Lambda::Permission":
                # As Lambda writes it into the function's policy.
                condition = {operator: {"aws:" + key: p[key]} for operator, key in (
                    ("ArnLike", "SourceArn"), ("StringEquals", "SourceAccount")) if key in p}
                found[name] = {"Statement": [{"Effect": "Allow", "Action": p["Action"], "Resource": _function(p["FunctionName"]),
                                              "Principal": {"Service": p["Principal"]}, "Condition": condition}]}
            case _ if "PolicyDocument" in p:
                found[name] = p["PolicyDocument"]
    text = re.sub(r"\$\{([A-Za-z.]+)\}", lambda m: ARNS[m[1]], json.dumps(found))
    return json.loads(text.replace('"execute-api:/', f'"{API}/'))


def _function(name):
    """A function is named by its ARN or its name."""
    return ROTATE if name in ("RotateFunction", "${RotateFunction.Arn}") else name


@pytest.fixture(scope="module")
def documents():
    def api(**parameters):
        return policies_of(transform(TEMPLATE, **parameters))["Api"]

    options = {"SharedTokens": "on", "ProbeSchedule": "rate(1 hour)"} | given(
        "SubnetIds", "SecurityGroupIds", "Tracing", "DeploymentPreference", "ReplicaRegions", "ReplicaKeyArns")
    return policies_of(transform(TEMPLATE, **options)) | {
        "private Api": api(AllowedAccounts="222222222222,111111111111", **PRIVATE),
        "ProbeRole vpc": policies_of(transform(TEMPLATE, **options | PRIVATE))["ProbeRole vpc"],
        # The owner's own account among them is a mistake that must not matter.
        "Api with accounts": api(AllowedAccounts="222222222222,444444444444,111111111111"),
        "Api with organization": api(OrganizationId="o-abcdefghij"),
        "Api that others may revoke by": api(
            AllowedAccounts="222222222222,111111111111", OrganizationId="o-abcdefghij", ForeignRevoke="on"),
    }


def holds(document, ask):
    found = decision(document, ask.action, ask.resource, ask.by, ask.context)
    return (found == "Allow") == ask.allowed and (ask.denied is None or (found == "Deny") == ask.denied)


def test_every_policy_is_asked(documents):
    assert set(documents) == {ask.policy for ask in ASKS}


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_policy(documents, ask):
    assert holds(documents[ask.policy], ask)


def test_only_shared_tokens_permit_the_table(documents):
    """No other policy changes with the parameter, and without it there is no statement about a table."""
    off, on = policies_of(transform(TEMPLATE)), policies_of(transform(TEMPLATE, SharedTokens="on"))
    assert off == {name: document for name, document in on.items() if name != "TokenRole token-table"}
    assert "dynamodb" not in json.dumps(off) and off != on


@pytest.mark.parametrize("parameters, added", [
    (given("SubnetIds", "SecurityGroupIds"), {"TokenRole vpc", "RotateRole vpc"}),
    (given("Tracing"), {"TokenRole xray", "RotateRole xray", "ProbeRole xray"}),
    (given("DeploymentPreference"), {"CodeDeployRole trust", "CodeDeployRole shift-traffic"}),
    (given("DomainName", "CertificateArn", "HostedZoneId", "WebAclArn"), set()), ({"Standby": "true"}, set()),
    (given("ReplicaRegions", "ReplicaKeyArns"), {"RotateRole replicas"}),
], ids=str)
def test_what_an_option_adds(parameters, added):
    """And it changes no other policy."""
    probe = {"ProbeSchedule": "rate(1 hour)"}
    off, on = (policies_of(transform(TEMPLATE, **p)) for p in (probe, probe | parameters))
    assert set(on) - set(off) == added and off == {name: document for name, document in on.items() if name not in added}


WITHOUT_EFFECT = {
    "Api: statement 0: removed", "Api: statement 0: any resource",  # allows no principal: a policy must have a statement
    "Api with accounts: AccountsForeignRevokeoff: without 111111111111", "private Api: AccountsForeignRevokeoff: without 111111111111",
    "Api that others may revoke by: AccountsForeignRevokeon: without 111111111111",  # the owner's own account, given by mistake
}


def test_every_change_of_a_policy_is_noticed(documents):
    """A statement, an action or a limit whose removal nothing notices does not belong there."""
    unnoticed = []
    for name, document in documents.items():
        for what, changed in mutants(document):
            if all(holds(changed, ask) for ask in ASKS if ask.policy == name):
                unnoticed.append(f"{name}: {what}")
    assert set(unnoticed) == WITHOUT_EFFECT


@pytest.mark.parametrize("policy, prefix, pattern, folders", [
    ("RotateRole", "secretsmanager:", "sm|secretsmanager", ["internal/appsecret", "internal/rotation", "internal/rotateapi"]),
    ("TokenRole token-table", "dynamodb:", "dynamodb", ["internal/tokenstore", "internal/vending", "internal/tokenapi"]),
])
def test_a_function_asks_for_what_its_role_allows(documents, policy, prefix, pattern, folders):
    """The operations that the code names are those that the role has, no fewer and no more."""
    command_line = deployment.ROOT / "internal/appsecret/list.go"  # no function lists versions
    code = "".join(path.read_text() for folder in folders for path in (deployment.ROOT / folder).glob("*.go")
                   if not path.name.endswith("_test.go") and path != command_line)
    used = {prefix + name for name in re.findall(rf"&(?:{pattern})\.(\w+)Input\{{", code)}
    actions = {action for s in documents[policy]["Statement"] for action in listed(s["Action"])}
    assert {a for a in actions if a.startswith(prefix)} == used


def test_no_wildcard_actions(documents):
    """Except KMS's own default in the key policy, without which the key could become unmanageable."""
    wild = [(name, s["Action"]) for name, d in documents.items() for s in d["Statement"] if "*" in str(s["Action"])]
    assert wild == [("Key", "kms:*")]


def test_wildcard_resources(documents):
    """Where a role's policy has to say *, no action takes a resource; a key policy's * is the key."""
    wild = {(name, action) for name, d in documents.items() for s in d["Statement"] if s.get("Resource") == "*"
            for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert {action for name, action in wild if name != "Key"} == {*LIST, *INTERFACES, *TRACES, "cloudwatch:DescribeAlarms"}


def test_api_logging_role():
    """API Gateway writes access logs with AWS's own policy for that."""
    role = transform(TEMPLATE)["ApiLoggingRole"]["Properties"]
    assert role["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"]
    assert "Policies" not in role


def test_the_statement_for_another_account_is_the_caller_policy(stack, documents):
    statement = json.loads(stack.outputs["CrossAccountStatement"].replace(stack.outputs["ApiId"], "Api"))
    assert statement == documents["CallerPolicy"]["Statement"][0]
