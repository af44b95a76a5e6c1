"""What template.yaml says, for the parameters that a person may give: expanded by SAM's own translator, not deployed."""

import json
import re

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

import combinations
import deployment
from combinations import given
from deployment import EVERYTHING, PRIVATE, STANDBY, TEMPLATE
from transform import check, expand, of_type, outputs, resolve, transform, with_defaults

# The alarms of each app, and those of the deployment.
OF_AN_APP = {
    "LoginRefused", "TokensUnavailable", "BadUpstreamResponse", "RotationFailed", "RotationOverdue", "CurrentPairFails", "RolledBack",
    "CandidateRefused", "PrincipalsUnreadable", "RunAsUserBlocked", "AppSecretDenied", "LoginBudgetExhausted", "ManyLogins",
}
OF_THE_STACK = {
    "DeadLettersArrived", "TokenErrors", "RotateErrors", "TokenThrottles", "RotateThrottles", "TokenSlow", "ApiErrors", "SecretDenied", "NoDailyCheck",
}
OF_THE_REPLICAS = {"ReplicationFails"}  # with ReplicaRegions, for each app
OF_THE_TABLE = {"TokenTableFails"}  # with SharedTokens
OF_THE_PROBE = {"ProbeFails", "ProbeNotRefused", "NoProbe"}  # with ProbeSchedule, for the first app
LINTED = ["template.yaml", "app.yaml", "examples/cross-account/template.yaml"]


@pytest.fixture(scope="module")
def smallest():
    return transform(TEMPLATE, RotationSchedule="off")


@pytest.fixture(scope="module")
def default():
    return transform(TEMPLATE)


@pytest.fixture(scope="module")
def largest():
    return transform(TEMPLATE, **EVERYTHING)


@pytest.mark.parametrize("path", LINTED)
def test_linters_find_nothing(sam, path):
    sam.validate(deployment.ROOT / path)
    deployment.cfn_lint(path, regions=deployment.PARTITIONS)
    deployment.checkov(path)


def test_linters_find_nothing_with_other_parameters(tmp_path):
    """checkov leaves out what the defaults leave out, and so does cfn-lint with what SAM makes. So here other values are the defaults:
    those of a covering set, since each template takes seconds."""
    for i, parameters in enumerate([EVERYTHING, *combinations.covering()]):
        (tmp_path / f"{i}.yaml").write_text(with_defaults(TEMPLATE, parameters))
    assert 10 < i < 20
    deployment.cfn_lint(*tmp_path.glob("*.yaml"))
    deployment.checkov(tmp_path, "-d")


# What SAM looks at: it expands the template in the same way, whatever the other parameters are.
EXPANDED_BY = {"DeploymentPreference", "AllowedAccounts", "OrganizationId", "ForeignRevoke", "EndpointType", "VpcEndpointIds"}


def test_every_combination():
    """Each combination is refused by a rule or makes a stack without a loose end: transform.py fails for a reference to a resource that
    is not made, from a resource or an output."""
    source, expanded, made = yaml_parse(TEMPLATE.read_text()), {}, 0
    for p in combinations.every():
        if combinations.refused(p):
            with pytest.raises(AssertionError):
                check(source, p)
            continue
        values, key = check(source, p), frozenset((name, p[name]) for name in EXPANDED_BY & set(p))
        if key not in expanded:
            expanded[key], _ = expand(TEMPLATE, **p)
        resources, made = resolve(expanded[key], values), made + 1
        assert holds_together(resources, resolve(expanded[key], values, "Outputs"), p), p
    assert made > 1500 and len(expanded) > 10


def holds_together(resources, outputs, p):
    """Whether the resources are those that the parameters ask for."""
    apps = p.get("AppName") != "off"
    policy = resources["Api"]["Properties"]["Body"]["x-amazon-apigateway-policy"]["Statement"]
    functions = of_type(resources, "AWS::Lambda::Function")
    in_vpc = ({"TokenFunction", "RotateFunction"} if "SubnetIds" in p else set()) | (
        {"ProbeFunction"} & set(functions) if "EndpointType" in p else set())
    expected = {
        "Secret": apps and "Standby" not in p,
        "Rotation": apps and "RotationSchedule" not in p and p.get("Standby") != "true",
        "RotationOverdue": apps and "RotationSchedule" not in p and p.get("Standby") != "true",
        "ReplicationFails": apps and "ReplicaRegions" in p, "Domain": "DomainName" in p, "DomainMapping": "DomainName" in p, "DomainRecord": "HostedZoneId" in p,
        "WebAclAssociation": "WebAclArn" in p, "ProbeFunction": apps and "ProbeSchedule" in p, "TokenTable": "SharedTokens" in p,
        "CodeDeployRole": "DeploymentPreference" in p, "ServerlessDeploymentApplication": "DeploymentPreference" in p,
    }
    return (
        {name: name in resources for name in expected} == expected
        and [s["Sid"] for s in policy if s["Effect"] == "Deny"] == (["OtherEndpoints"] if "EndpointType" in p else [])
        and len([s for s in policy if s["Effect"] == "Allow"]) == max(1, ("AllowedAccounts" in p) + ("OrganizationId" in p))
        and {name for name, f in functions.items() if "VpcConfig" in f} == in_vpc
        and all(role.get("PermissionsBoundary") == p.get("PermissionsBoundary") for role in of_type(resources, "AWS::IAM::Role").values())
        and "CodeDeployServiceRole" not in resources
        and ("SecretArn" in outputs, "DomainTarget" in outputs) == (expected["Secret"], expected["Domain"])
        and not any(value == "" for value in outputs.values()))


def test_sam_expands_by_few_parameters():
    """What the test above relies on."""
    assert expand(TEMPLATE)[0] == expand(TEMPLATE, **{k: v for k, v in (EVERYTHING | STANDBY).items() if k not in EXPANDED_BY | {
        "ReplicaRegions", "ReplicaKeyArns"}})[0]


VPC, DOMAIN = given("SubnetIds", "SecurityGroupIds"), given("DomainName", "CertificateArn")
REPLICAS = given("ReplicaRegions", "ReplicaKeyArns")


@pytest.mark.parametrize("parameters, why", [
    (given("SubnetIds"), "SubnetIds and SecurityGroupIds"), (given("SecurityGroupIds"), "SubnetIds and SecurityGroupIds"),
    ({"EndpointType": "PRIVATE"}, "needs VpcEndpointIds"), ({"VpcEndpointIds": PRIVATE["VpcEndpointIds"]}, "only an API with EndpointType=PRIVATE"),
    (PRIVATE | DOMAIN, "DomainName"), (PRIVATE | given("ProbeSchedule"), "needs SubnetIds"),
    (given("DomainName"), "DomainName and CertificateArn"), (given("CertificateArn"), "DomainName and CertificateArn"),
    (given("HostedZoneId"), "needs DomainName"),
    (given("ReplicaRegions"), "ReplicaRegions and ReplicaKeyArns"), (given("ReplicaKeyArns"), "ReplicaRegions and ReplicaKeyArns"),
    (REPLICAS | STANDBY, "Standby=false"), (REPLICAS | {"Standby": "promoted"}, "Standby=false"),
])
def test_refused_combinations(parameters, why):
    with pytest.raises(AssertionError, match=why):
        transform(TEMPLATE, **parameters)


@pytest.mark.parametrize("parameters", [VPC, PRIVATE, PRIVATE | VPC | given("ProbeSchedule"), DOMAIN, DOMAIN | given("HostedZoneId"), REPLICAS, STANDBY,
                                        REPLICAS | {"AppName": "off"},
                                        STANDBY | {"AppName": "off"}])
def test_accepted_combinations(parameters):
    assert transform(TEMPLATE, **parameters)


@pytest.mark.parametrize("name, value", [
    ("SubnetIds", "subnet-0123456789abcdef0, subnet-0123456789abcdef1"), ("SubnetIds", "sg-0123456789abcdef0"), ("SecurityGroupIds", "default"),
    ("VpcEndpointIds", "*"), ("VpcEndpointIds", "vpce-0123456789abcdef0,"), ("DomainName", "https://tokens.example.com"), ("DomainName", "*.example.com"),
    ("DomainName", "tokens"), ("WebAclArn", EVERYTHING["WebAclArn"].replace("regional", "global")), ("EndpointType", "EDGE"), ("Tracing", "yes"),
    ("DeploymentPreference", "AllAtOnce"), ("ReplicaRegions", "eu-west-1,eu-west-2,eu-west-3"), ("ReplicaRegions", "Ireland"),
    ("ReplicaKeyArns", "alias/aws/secretsmanager"), ("Standby", "on"), ("CertificateArn", "arn:aws:iam::111111111111:server-certificate/x"),
    ("CodeSigningConfigArn", "csc-0123456789abcdef0"), ("CodeSigningConfigArn", "arn:aws:signer:us-east-1:111111111111:/signing-profiles/sftoken"),
])
def test_values_that_no_parameter_may_have(name, value):
    with pytest.raises(AssertionError, match="does not match|is none of"):
        transform(TEMPLATE, **{name: value})


@pytest.mark.parametrize("path", LINTED)
def test_every_suppression_has_a_reason(path):
    text = (deployment.ROOT / path).read_text()
    skips = re.findall(r"\{id: (CKV\w+)(.*)\}", text)
    assert len(skips) == len(re.findall(r"CKV\w+", text)), "a suppression in another form than {id, comment}"
    assert all(re.fullmatch(r', comment: ".{20,}"', rest) for _, rest in skips)
    assert "cfn-lint" not in text


def test_the_built_template_has_no_anchors(template):
    """CloudFormation does not read YAML's anchors; the SAM CLI writes them out."""
    tokens = {type(token).__name__ for token in yaml.scan(template.read_text())}
    assert not tokens & {"AnchorToken", "AliasToken"}


def test_full_parameters_are_all_of_them():
    source = yaml_parse(TEMPLATE.read_text())
    everything = EVERYTHING | PRIVATE | STANDBY
    assert set(everything) == set(source["Parameters"])
    assert all(str(source["Parameters"][name]["Default"]) != str(value) for name, value in everything.items())
    groups = source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(everything)
    assert all(p.get("Description") and "Default" in p for p in source["Parameters"].values())


def test_metadata_for_the_application_repository():
    """Limits of each field: AWS SAM Developer Guide, "AWS SAM template Metadata section properties"."""
    metadata = yaml_parse(TEMPLATE.read_text())["Metadata"]["AWS::ServerlessRepo::Application"]
    assert set(metadata) == {"Name", "Description", "Author", "SpdxLicenseId", "Labels", "HomePageUrl", "SourceCodeUrl"}
    assert re.fullmatch(r"[a-zA-Z0-9-]{1,140}", metadata["Name"]) and 1 <= len(metadata["Description"]) <= 256
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", metadata["Author"]) and len(metadata["Author"]) <= 127
    assert len(metadata["Labels"]) <= 10 and all(re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label) for label in metadata["Labels"])


# The emulator has no RotationSchedule: this is the only place where it is looked at.
def test_rotation_schedule(default, smallest, largest):
    assert not of_type(smallest, "AWS::SecretsManager::RotationSchedule")
    assert default["Rotation"]["Properties"] == {
        "SecretId": "Secret", "RotationLambdaARN": "${RotateFunction.Arn}", "RotateImmediatelyOnUpdate": False,
        "RotationRules": {"ScheduleExpression": "rate(30 days)"},
    }
    assert largest["Rotation"]["Properties"]["RotationRules"] == {"ScheduleExpression": "cron(0 3 1 * ? *)"}
    # Secrets Manager calls the function at once: it must be allowed to, and the function must be able to do its work. The role's
    # policy is part of the role, which the function waits for.
    assert default["Rotation"]["DependsOn"] == "RotatePermission"
    assert default["RotateFunction"]["Properties"]["Role"] == "${RotateRole.Arn}"
    assert default["RotateRole"]["Properties"]["Policies"]


def test_no_first_app(default):
    """Apps may all come with app.yaml."""
    without = transform(TEMPLATE, AppName="off")
    assert set(default) - set(without) == {
        "Secret", "Rotation", "CallerPolicy", *OF_AN_APP}


def test_off_leaves_out_the_overdue_alarm(smallest, default):
    assert set(of_type(default, "AWS::CloudWatch::Alarm")) - set(of_type(smallest, "AWS::CloudWatch::Alarm")) == {"RotationOverdue"}


def test_shared_tokens_add_the_table_and_its_alarm(default):
    """The role's policy is looked at in test_policies.py."""
    shared = transform(TEMPLATE, SharedTokens="on")
    assert set(default) <= set(shared) and set(shared) - set(default) == {"TokenTable"} | OF_THE_TABLE
    off, on = (r["TokenFunction"]["Properties"]["Environment"]["Variables"]["TOKEN_TABLE"] for r in (default, shared))
    assert (off, on) == ("", "TokenTable")
    off, on = (json.loads(r["Dashboard"]["Properties"]["DashboardBody"])["widgets"] for r in (default, shared))
    assert "TokenTable" not in json.dumps(off) and "Shared" not in json.dumps(off)
    assert len(on) == len(off) + 1 and on[1:-1] == off[1:]
    alarms = [w[0]["properties"]["alarms"] for w in (off, on)]
    assert set(alarms[1]) - set(alarms[0]) == {"${TokenTableFails.Arn}"} and len(alarms[1]) == len(alarms[0]) + 1


def test_the_probe_is_off_by_default(default):
    """A new deployment has no credentials, and an app with allowedPrincipals must list the role first."""
    probed = transform(TEMPLATE, ProbeSchedule="rate(5 minutes)")
    function = {"ProbeFunction" + suffix for suffix in ("", "Probe", "ProbePermission", "EventInvokeConfig")}
    assert set(default) <= set(probed) and set(probed) - set(default) == {*function, "ProbeRole", "ProbeLogs"} | OF_THE_PROBE
    off, on = (json.loads(r["Dashboard"]["Properties"]["DashboardBody"])["widgets"] for r in (default, probed))
    assert "Probe" not in json.dumps(off) and len(on) == len(off) + 1 and on[1:-1] == off[1:]
    alarms = [set(w[0]["properties"]["alarms"]) for w in (off, on)]
    assert alarms[1] - alarms[0] == {"${%s.Arn}" % name for name in OF_THE_PROBE}
    assert not any("Probe" in name for name in transform(TEMPLATE, AppName="off", ProbeSchedule="rate(5 minutes)"))


@pytest.mark.parametrize("schedule, valid", [
    ("rate(1 minute)", True), ("rate(5 minutes)", True), ("rate(1 hour)", True), ("rate(1 day)", True), ("cron(0/10 * * * ? *)", True), ("on", False),
    ("", False), ("rate(5)", False), ("5 minutes", False),
])
def test_probe_schedule(schedule, valid):
    if not valid:
        with pytest.raises(AssertionError, match="does not match"):
            transform(TEMPLATE, ProbeSchedule=schedule)
        return
    rule = transform(TEMPLATE, ProbeSchedule=schedule)["ProbeFunctionProbe"]["Properties"]
    target, = rule["Targets"]
    assert rule["ScheduleExpression"] == schedule and target["Arn"] == "${ProbeFunction.Arn}" and "Input" not in target


def test_probe_function(largest):
    function = largest["ProbeFunction"]["Properties"]
    assert function["Role"] == "${ProbeRole.Arn}" and function["LoggingConfig"] == {"LogGroup": "ProbeLogs"}
    # A call may take 30 seconds, and all are made at the same time.
    assert re.search(r"const timeout = 30 \* time.Second", (deployment.ROOT / "internal" / "probeapi" / "probeapi.go").read_text())
    assert int(function["Timeout"]) >= 40
    # A failed invocation would be retried twice by default.
    assert largest["ProbeFunctionEventInvokeConfig"]["Properties"]["MaximumRetryAttempts"] == 0
    assert largest["ProbeLogs"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_widgets_do_not_overlap(largest):
    cells = [(w["x"] + dx, w["y"] + dy) for w in json.loads(largest["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
             for dx in range(w["width"]) for dy in range(w["height"])]
    assert len(cells) == len(set(cells)) and {x for x, _ in cells} == set(range(24))


def test_token_table(largest):
    """What is in it can be recreated: no backup, and no copy that outlives the stack."""
    table = largest["TokenTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Delete"
    assert table["Properties"] == {
        "KeySchema": [{"AttributeName": "app", "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "app", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST", "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": "${Key.Arn}"},
        "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": True},
    }


def test_the_table_has_the_attributes_that_the_code_uses(largest):
    code = (deployment.ROOT / "internal" / "tokenstore" / "item.go").read_text()
    key, expires = (re.search(rf'{name} += "(\w+)"', code)[1] for name in ("const Key", "attrExpires"))
    table = largest["TokenTable"]["Properties"]
    assert (table["KeySchema"][0]["AttributeName"], table["TimeToLiveSpecification"]["AttributeName"]) == (key, expires)


def test_api(default):
    """What the emulator does not look at of the API."""
    stages = of_type(default, "AWS::ApiGateway::Stage")
    assert list(stages) == ["Apiv1Stage"]
    assert not any("StageName" in d for d in of_type(default, "AWS::ApiGateway::Deployment").values()), "a second stage, without a log"
    stage = stages["Apiv1Stage"]
    assert stage["StageName"] == "v1"
    assert not stage.get("CacheClusterEnabled")
    assert stage["MethodSettings"] == [{
        "HttpMethod": "*", "ResourcePath": "/*", "DataTraceEnabled": False, "ThrottlingRateLimit": "15", "ThrottlingBurstLimit": "60",
    }]
    assert stage["AccessLogSetting"]["DestinationArn"] == "${AccessLogs.Arn}"
    for field in ("requestId", "identity.userArn", "identity.accountId", "identity.sourceIp", "httpMethod", "path", "status", "error.responseType"):
        assert f'"$context.{field}"' in stage["AccessLogSetting"]["Format"]
    yaml.safe_load(stage["AccessLogSetting"]["Format"])  # JSON, of strings alone
    # What quotes the request is not logged: the message of a wrong signature has the signed request with its headers.
    assert not re.search(r"\$context\.(error\.message|error\.messageString|authorize\.error)", stage["AccessLogSetting"]["Format"])
    assert default["Api"]["Properties"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]} and stage["TracingEnabled"] is False


def test_functions_in_a_vpc(default, largest):
    """The probe only if it has to be, since callers of a public API need no VPC."""
    assert not any("VpcConfig" in f for f in of_type(default, "AWS::Lambda::Function").values())
    vpc = {"SubnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"], "SecurityGroupIds": ["sg-0123456789abcdef0"]}
    configs = {name: f.get("VpcConfig") for name, f in of_type(largest, "AWS::Lambda::Function").items()}
    assert configs == {"TokenFunction": vpc, "RotateFunction": vpc, "ProbeFunction": None}
    private = transform(TEMPLATE, **VPC, **PRIVATE, **given("ProbeSchedule"))
    assert [f["VpcConfig"] for f in of_type(private, "AWS::Lambda::Function").values()] == [vpc] * 3


def test_private_api():
    """Its policy is looked at in test_policies.py."""
    api = transform(TEMPLATE, **PRIVATE)["Api"]["Properties"]
    endpoints = PRIVATE["VpcEndpointIds"].split(",")
    assert api["EndpointConfiguration"] == {"Types": ["PRIVATE"], "VpcEndpointIds": endpoints}
    probed = transform(TEMPLATE, **VPC, **PRIVATE, **given("ProbeSchedule"))
    url = f"https://Api-{endpoints[0]}.execute-api.us-east-1.amazonaws.com/v1"
    assert probed["ProbeFunction"]["Properties"]["Environment"]["Variables"]["API_URL"] == outputs(TEMPLATE, **PRIVATE)["ApiUrl"] == url


def test_custom_domain(default, largest):
    """Which also has the path v1, so that callers have to change only the host. Without a hosted zone the record is made elsewhere."""
    domain = {"DomainName": "tokens.example.com", "RegionalCertificateArn": EVERYTHING["CertificateArn"], "SecurityPolicy": "TLS_1_2",
              "EndpointConfiguration": {"Types": ["REGIONAL"]}}
    assert largest["Domain"]["Properties"] == domain
    assert largest["DomainMapping"]["Properties"] == {"DomainName": "Domain", "BasePath": "v1", "RestApiId": "Api", "Stage": "Apiv1Stage"}
    assert largest["DomainRecord"]["Properties"] == {
        "HostedZoneId": EVERYTHING["HostedZoneId"], "Name": "tokens.example.com", "Type": "A",
        "AliasTarget": {"DNSName": "${Domain.RegionalDomainName}", "HostedZoneId": "${Domain.RegionalHostedZoneId}"}}
    assert set(transform(TEMPLATE, **DOMAIN)) - set(default) == {"Domain", "DomainMapping"}
    for parameters in EVERYTHING, DOMAIN:
        values = outputs(TEMPLATE, **parameters)
        assert values["ApiUrl"] == "https://tokens.example.com/v1" and values["DomainTarget"] == "${Domain.RegionalDomainName}"
    assert largest["ProbeFunction"]["Properties"]["Environment"]["Variables"]["API_URL"] == "https://tokens.example.com/v1"


def test_web_acl(largest):
    assert largest["WebAclAssociation"]["Properties"] == {
        "WebACLArn": EVERYTHING["WebAclArn"], "ResourceArn": "arn:aws:apigateway:us-east-1::/restapis/Api/stages/Apiv1Stage"}


def test_tracing(default, largest):
    for resources, mode in ((default, "PassThrough"), (largest, "Active")):
        assert {f["TracingConfig"]["Mode"] for f in of_type(resources, "AWS::Lambda::Function").values()} == {mode}
        assert resources["Apiv1Stage"]["Properties"]["TracingEnabled"] is (mode == "Active")


@pytest.mark.parametrize("preference", ["off", "Canary10Percent5Minutes", "Canary10Percent15Minutes", "Linear10PercentEvery1Minute"])
def test_deployment_preference(default, preference):
    resources = transform(TEMPLATE, DeploymentPreference=preference)
    new = set(resources) - set(default)
    if preference == "off":
        assert not new and not resources["TokenFunctionAliaslive"]["UpdatePolicy"]
        return
    assert new == {"CodeDeployRole", "ServerlessDeploymentApplication", "TokenFunctionDeploymentGroup"}
    group = resources["TokenFunctionDeploymentGroup"]["Properties"]
    assert group["DeploymentConfigName"] == "CodeDeployDefault.Lambda" + preference and group["ServiceRoleArn"] == "${CodeDeployRole.Arn}"
    assert group["AlarmConfiguration"] == {"Enabled": True, "Alarms": [{"Name": "TokenErrors"}, {"Name": "ApiErrors"}]}
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"] and group["AutoRollbackConfiguration"]["Enabled"]
    assert resources["TokenFunctionAliaslive"]["UpdatePolicy"] == {"CodeDeployLambdaAliasUpdate": {
        "ApplicationName": "ServerlessDeploymentApplication", "DeploymentGroupName": "TokenFunctionDeploymentGroup"}}
    # It changes how a version is reached, and makes none.
    assert version(resources) == version(default)


@pytest.mark.parametrize("count", [1, 2])
def test_replicas(default, count):
    """Each in its region with the key of the stack there."""
    assert "ReplicaRegions" not in default["Secret"]["Properties"]
    some = {name: ",".join(value.split(",")[:count]) for name, value in REPLICAS.items()}
    resources = transform(TEMPLATE, **some)
    assert set(resources) - set(default) == OF_THE_REPLICAS
    regions, keys = (some[name].split(",") for name in ("ReplicaRegions", "ReplicaKeyArns"))
    assert resources["Secret"]["Properties"] == default["Secret"]["Properties"] | {
        "ReplicaRegions": [{"Region": region, "KmsKeyId": key} for region, key in zip(regions, keys)]}
    off, on = (set(json.loads(r["Dashboard"]["Properties"]["DashboardBody"])["widgets"][0]["properties"]["alarms"]) for r in (default, resources))
    assert on - off == {"${ReplicationFails.Arn}"}


def test_replicas_need_a_key_each():
    with pytest.raises(IndexError):  # CloudFormation: "Fn::Select cannot select nonexistent value at index 1"
        transform(TEMPLATE, ReplicaRegions=REPLICAS["ReplicaRegions"], ReplicaKeyArns=REPLICAS["ReplicaKeyArns"].split(",")[0])


def test_standby(default):
    """All but the secret and its schedule is deployed, so that a promotion changes no role: IAM is changed in one region, which may be the
    one that is lost."""
    standby, promoted = transform(TEMPLATE, **STANDBY), transform(TEMPLATE, Standby="promoted")
    assert set(default) - set(standby) == {"Secret", "Rotation", "RotationOverdue"}
    assert set(default) - set(promoted) == {"Secret"}
    assert promoted["Rotation"] == default["Rotation"] | {"Properties": default["Rotation"]["Properties"] | {"SecretId": "sftoken/crm"}}
    assert version(standby) == version(promoted) != version(default)  # or the alias would keep a version without STANDBY
    for resources in standby, promoted:
        assert of_type(resources, "AWS::IAM::Role") == of_type(default, "AWS::IAM::Role")
        variables = default["TokenFunction"]["Properties"]["Environment"]["Variables"] | {"STANDBY": "true"}
        assert resources["TokenFunction"]["Properties"]["Environment"]["Variables"] == variables
        assert all(resources[name] == default[name] for name in resources if name not in ("Rotation", "Dashboard", "TokenFunction") and
                   not name.startswith("TokenFunctionVersion"))
    assert promoted["TokenFunction"] == standby["TokenFunction"]


def test_api_methods(default):
    body = default["Api"]["Properties"]["Body"]
    assert {path: set(methods) for path, methods in body["paths"].items()} == {"/tokens/{app}": {"get", "post", "delete"}}
    assert body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    for method in body["paths"]["/tokens/{app}"].values():
        assert method["security"] == [{"AWS_IAM": []}]
        integration = method["x-amazon-apigateway-integration"]
        assert integration["type"] == "aws_proxy" and "TokenFunctionAliaslive" in integration["uri"]
        # InvokeRole NONE: API Gateway calls the function as itself, not with the caller's credentials.
        assert "credentials" not in integration


OWNER_ONLY = {"StringNotEquals": {"aws:PrincipalAccount": "111111111111"}}
INVOKE = {"Effect": "Allow", "Action": "execute-api:Invoke"}
ACCOUNTS = {"Principal": {"AWS": ["222222222222", "333333333333"]}, "Condition": OWNER_ONLY}
ORGANIZATION = {"Principal": "*", "Condition": OWNER_ONLY | {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}}}
NO_CALLER = INVOKE | {"Resource": "execute-api:/v1/GET/tokens/*", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Condition": OWNER_ONLY}


@pytest.mark.parametrize("revoke, methods", [("", ["GET", "POST"]), ("off", ["GET", "POST"]), ("on", ["GET", "POST", "DELETE"])])
@pytest.mark.parametrize("accounts, organization, statements", [
    ("", "", {}),
    ("222222222222,333333333333", "", {"Accounts": ACCOUNTS}),
    ("", "o-abcdefghij", {"Organization": ORGANIZATION}),
    ("222222222222,333333333333", "o-abcdefghij", {"Accounts": ACCOUNTS, "Organization": ORGANIZATION}),
])
def test_api_resource_policy(accounts, organization, statements, revoke, methods):
    """Other accounts may fetch tokens; that they may revoke them too is opt-in."""
    given = {"ForeignRevoke": revoke} if revoke else {}
    resources = transform(TEMPLATE, AllowedAccounts=accounts, OrganizationId=organization, **given)
    admitted = INVOKE | {"Resource": [f"execute-api:/v1/{method}/tokens/*" for method in methods]}
    want = [admitted | s | {"Sid": f"{name}ForeignRevoke{revoke or 'off'}"} for name, s in statements.items()]
    assert resources["Api"]["Properties"]["Body"]["x-amazon-apigateway-policy"] == {"Version": "2012-10-17", "Statement": want or [NO_CALLER]}


def deployment_of(**parameters):
    """The logical id of the API's deployment, which takes effect only when it is replaced."""
    return list(of_type(transform(TEMPLATE, **parameters), "AWS::ApiGateway::Deployment"))


def test_admitting_an_account_makes_a_new_deployment():
    ids = [deployment_of(), deployment_of(AllowedAccounts="222222222222"), deployment_of(AllowedAccounts="222222222222,333333333333"),
           deployment_of(OrganizationId="o-abcdefghij"), deployment_of(AllowedAccounts="222222222222", ForeignRevoke="on"),
           deployment_of(OrganizationId="o-abcdefghij", ForeignRevoke="on"),
           deployment_of(**PRIVATE), deployment_of(**PRIVATE | {"VpcEndpointIds": "vpce-0123456789abcdef0"})]
    assert len({id for each in ids for id in each}) == len(ids)
    assert deployment_of() == deployment_of(Prefetch="crm")


def version(resources):
    (name, properties), = of_type(resources, "AWS::Lambda::Version").items()
    return name, properties["Description"]


@pytest.mark.parametrize("setting", ["SecretPrefix", "SalesforceHosts", "Prefetch", "Architecture", "LoginBurst", "LoginsPerHour", "SharedTokens",
                                     "Tracing"])
def test_a_changed_setting_publishes_a_new_version(default, setting):
    """The API calls a version, whose settings are those that it was published with."""
    assert version(default) != version(transform(TEMPLATE, **{setting: EVERYTHING[setting]}))


def test_a_changed_vpc_publishes_a_new_version(default):
    """Or the old version would go on outside of it. Each id counts."""
    subnets, groups = VPC["SubnetIds"], VPC["SecurityGroupIds"]
    vpcs = [{}, VPC, VPC | {"SubnetIds": subnets.split(",")[0]}, VPC | {"SubnetIds": subnets[:-1] + "2"}, VPC | {"SecurityGroupIds": groups[:-1] + "1"},
            VPC | {"SecurityGroupIds": f"{groups},{groups[:-1]}1"}]
    assert len({version(transform(TEMPLATE, **vpc)) for vpc in vpcs}) == len(vpcs)


def test_longest_settings_fit_the_version_description():
    longest = {name: p["MaxLength"] for name, p in yaml_parse(TEMPLATE.read_text())["Parameters"].items() if "MaxLength" in p}
    _, description = version(transform(
        TEMPLATE, SecretPrefix="p" * 60, SalesforceHosts="h" * longest["SalesforceHosts"], Prefetch="a" * longest["Prefetch"],
        Architecture="x86_64", LoginBurst=3600, LoginsPerHour=3600, SharedTokens="off", Tracing="off", Standby="true"))
    assert len(description) <= 256
    # In a VPC with three subnets less is left for the others: docs/reference/settings.md says how much.
    subnets = ",".join(f"subnet-0123456789abcdef{i}" for i in range(3))
    _, description = version(transform(
        TEMPLATE, SalesforceHosts="h" * longest["SalesforceHosts"], Prefetch="a" * 40, Architecture="x86_64", SubnetIds=subnets,
        SecurityGroupIds="sg-0123456789abcdef0"))
    assert len(description) <= 256


def test_nothing_has_a_name_but_the_secret(default, largest):
    """Several stacks fit into one account, and CAPABILITY_IAM is enough to deploy one."""
    services = ("IAM", "Logs", "SQS", "SNS", "CloudWatch", "Events", "KMS", "ApiGateway", "DynamoDB")
    named = {(name, key) for name, r in (default | largest).items() for key in r["Properties"]
             if key.endswith("Name") and r["Type"].split("::")[1] in services}
    assert {key for _, key in named} <= {"StageName", "MetricName", "DomainName"}  # the last by parameter
    assert not any("FunctionName" in p for p in of_type(default, "AWS::Lambda::Function").values())
    assert 'capabilities = "CAPABILITY_IAM"' in (deployment.ROOT / "samconfig.toml").read_text()


def test_concurrency(default, largest):
    function, alias = default["TokenFunction"]["Properties"], default["TokenFunctionAliaslive"]["Properties"]
    assert "ReservedConcurrentExecutions" not in function and "ProvisionedConcurrencyConfig" not in alias
    function, alias = largest["TokenFunction"]["Properties"], largest["TokenFunctionAliaslive"]["Properties"]
    assert function["ReservedConcurrentExecutions"] == "20"
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "2"}
    assert largest["RotateFunction"]["Properties"]["ReservedConcurrentExecutions"] == "10"


def test_no_reservation_by_default(default):
    """An account whose limit is 10 accepts none at all: 100 must stay unreserved. Source: Lambda Developer Guide, "Configuring reserved
    concurrency for a function"."""
    for name in "TokenFunction", "RotateFunction":
        assert "ReservedConcurrentExecutions" not in default[name]["Properties"]


METHODS = 3  # the stage's limits are for each method: API Gateway Developer Guide, "How throttling limit settings are applied in API Gateway"


def most_at_once(resources):
    """How many requests the API can have admitted that have not ended: a bucket of tokens, for each method."""
    limits, = resources["Apiv1Stage"]["Properties"]["MethodSettings"]
    timeout = resources["TokenFunction"]["Properties"]["Timeout"]
    return METHODS * (int(limits["ThrottlingBurstLimit"]) + float(limits["ThrottlingRateLimit"]) * timeout)


def test_the_api_bounds_the_token_function_by_default(default):
    """Without a reservation, and if every request takes all of its time, the default limit of an account is not consumed."""
    assert most_at_once(default) <= 900


def test_the_limits_for_small_accounts_in_deploy_md():
    """The table of docs/how-to/deploy.md has values for accounts with other limits, and the sum that they come to."""
    rows = re.findall(r"^\| ([\d,]+) \| `ApiRateLimit=([\d.]+) ApiBurstLimit=(\d+)`[^|]*\| 3 × \((\d+) \+ ([\d.]+) × 15\) = ([\d.]+) \|",
                      (deployment.ROOT / "docs" / "how-to" / "deploy.md").read_text(), re.MULTILINE)
    assert [limit for limit, *_ in rows][0] == "10" and len(rows) >= 3
    for limit, rate, burst, again, same, total in rows:
        assert (burst, rate) == (again, same)
        assert most_at_once(transform(TEMPLATE, ApiRateLimit=rate, ApiBurstLimit=burst)) == float(total) < int(limit.replace(",", ""))


def test_functions(default, largest):
    for resources, architecture in ((default, "arm64"), (largest, "x86_64")):
        functions = of_type(resources, "AWS::Lambda::Function")
        assert set(functions) == {"TokenFunction", "RotateFunction"} | ({"ProbeFunction"} if resources is largest else set())
        for properties in functions.values():
            assert properties["Runtime"] == "provided.al2023" and properties["Handler"] == "bootstrap"
            assert properties["Architectures"] == [architecture]
            assert properties["Environment"]["Variables"]["METRICS_NAMESPACE"] == "sftoken"
    settings = {name: f["Environment"]["Variables"] for name, f in of_type(largest, "AWS::Lambda::Function").items()}
    common = {"SECRET_PREFIX": "salesforce/", "SALESFORCE_HOSTS": "sf.example.com:8443", "METRICS_NAMESPACE": "sftoken",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": "", "LOGIN_BURST": "40", "LOGINS_PER_HOUR": "3600"}
    token = {"PREFETCH": "crm,erp", "TOKEN_TABLE": "TokenTable", "STANDBY": "", "AWS_ENDPOINT_URL_DYNAMODB": ""}
    probe = {"API_URL": "https://tokens.example.com/v1", "APP": "erp", "DENIED_APP": "probe-denied"}
    assert settings == {
        "TokenFunction": common | token, "RotateFunction": common | {"ADMIN_APP": "admin"}, "ProbeFunction": common | probe}


def test_what_the_stack_leaves_behind(default):
    """The secret, its key, the audit logs, and what belongs to the whole account."""
    kept = {name: r["DeletionPolicy"] for name, r in default.items() if r["DeletionPolicy"] and r["Type"] != "AWS::Lambda::Version"}
    # A first deployment that fails is taken back whole: a secret that stayed would have its name, and a second one would fail for
    # that. The account's setting may have come to be of use to other APIs.
    ours = {"Secret", "Key", "TokenLogs", "RotateLogs", "AccessLogs"}
    assert kept == dict.fromkeys(ours, "RetainExceptOnCreate") | dict.fromkeys(["ApiLogging", "ApiLoggingRole"], "Retain")
    assert all(p["RetentionInDays"] == "365" for p in of_type(default, "AWS::Logs::LogGroup").values())


def test_the_secret_starts_with_the_placeholder(default, largest):
    """A value that came from a parameter would overwrite live credentials."""
    for resources, name in ((default, "sftoken/crm"), (largest, "salesforce/erp")):
        secret = resources["Secret"]["Properties"]
        assert secret["Name"] == name and secret["KmsKeyId"] == "Key"
        assert secret["SecretString"].count("replace-me") == 3
    assert default["Secret"]["Properties"]["SecretString"] == largest["Secret"]["Properties"]["SecretString"]


def test_events(default):
    moved, daily = default["RotateFunctionLabelMoved"]["Properties"], default["RotateFunctionCheck"]["Properties"]
    assert moved["EventPattern"] == {
        "source": ["aws.secretsmanager"], "detail-type": ["Secret Label Updated"],
        "detail": {"name": [{"prefix": "sftoken/"}], "labelUpdated": ["AWSCURRENT", "CANDIDATE", "COMPROMISED"]},
    }
    assert daily["ScheduleExpression"] == "rate(1 day)" and "Input" not in daily["Targets"][0]
    for rule in (moved, daily):
        target, = rule["Targets"]
        assert target["Arn"] == "${RotateFunction.Arn}"
        assert target["DeadLetterConfig"] == {"Arn": "${DeadLetters.Arn}"}
        assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    # The second layer: the rule only sees whether the function could be called.
    asynchronous = default["RotateFunctionEventInvokeConfig"]["Properties"]
    assert asynchronous["DestinationConfig"] == {"OnFailure": {"Destination": "${DeadLetters.Arn}"}}
    assert asynchronous["MaximumRetryAttempts"] == 2


def test_alarm_email(default, largest):
    assert "Subscription" not in default["AlarmTopic"]["Properties"]
    assert largest["AlarmTopic"]["Properties"]["Subscription"] == [{"Protocol": "email", "Endpoint": "team@example.com"}]


def test_permissions_boundary(default):
    """Of every role, or an account that demands one refuses the stack."""
    assert not any("PermissionsBoundary" in role for role in of_type(default, "AWS::IAM::Role").values())
    boundary = EVERYTHING["PermissionsBoundary"]
    roles = of_type(transform(TEMPLATE, PermissionsBoundary=boundary, ProbeSchedule="rate(1 hour)", **given("DeploymentPreference")), "AWS::IAM::Role")
    assert {name: role.get("PermissionsBoundary") for name, role in roles.items()} == dict.fromkeys(
        ["TokenRole", "RotateRole", "ApiLoggingRole", "ProbeRole", "CodeDeployRole"], boundary)


def functions(resources):
    """The functions, with their properties."""
    return of_type(resources, "AWS::Lambda::Function").items()


@pytest.mark.parametrize("partition, region", [("aws", "us-east-1"), ("aws-us-gov", "us-gov-west-1"), ("aws-cn", "cn-north-1"), ("aws-eusc", "eusc-de-east-1")])
def test_code_signing(default, largest, partition, region):
    """Every function has the configuration or none has: one that is left out takes unsigned code."""
    assert not any("CodeSigningConfigArn" in f for _, f in functions(default))
    arn = f"arn:{partition}:lambda:{region}:111111111111:code-signing-config:csc-0123456789abcdef0"
    signed = transform(TEMPLATE, CodeSigningConfigArn=arn, ProbeSchedule="rate(1 hour)")
    assert {name: f.get("CodeSigningConfigArn") for name, f in functions(signed)} == dict.fromkeys(["TokenFunction", "RotateFunction", "ProbeFunction"], arn)
    assert {f["CodeSigningConfigArn"] for _, f in functions(largest)} == {EVERYTHING["CodeSigningConfigArn"]}


def test_log_role_is_made_once_for_an_account(default, largest):
    stage = default["Apiv1Stage"]["Properties"]
    assert stage["Variables"] == {"ApiLogRole": "ApiLogging"}, "the stage waits for the role"
    assert "ApiLogging" not in largest and "ApiLoggingRole" not in largest
