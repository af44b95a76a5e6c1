"""network.yaml: what it says, for the parameters that a person may give, and what each policy in it allows and does not, as
test_policies.py does for template.yaml.

The emulator has no Elastic IPs, NAT gateways and flow logs in CloudFormation, so the deployed network lacks them and the routes to
the gateways. It has no packets either, and does not enforce endpoint policies: addresses, routes, security groups and these policies
are looked at, and the policies put to the evaluator.
"""

import ipaddress
import itertools
import json
import re

import pytest
from samtranslator.yaml_helper import yaml_parse

import aws
import deployment
import test_template
from policies import DESCRIBE, ITEMS, LIST, READ, TAG, WRITE, listed, mutants
from test_policies import API, CALL, FOREIGN, HERE, KEY, LOG, NEVER, NEVER_THE_TABLE, OWN, SECRETS, TABLE, holds, no, service, yes
from transform import of_type, resolve, transform, with_defaults

NETWORK = deployment.ROOT / "network.yaml"
GUIDE = deployment.ROOT / "docs" / "how-to" / "network.md"
TEXT = NETWORK.read_text()

# Every parameter with another value than its default.
EVERYTHING = {
    "Cidr": "192.168.0.0/16", "Zones": "us-east-1c,us-east-1f", "SecretPrefix": "salesforce/", "SharedTokens": "on", "OtherEndpoints": "on",
    "ApiEndpoint": "on", "ApiClientCidr": "10.0.0.0/8", "LogRetentionDays": 30, "PermissionsBoundary": "arn:aws:iam::aws:policy/PowerUserAccess",
}
# The parameters that decide what there is, with their values. ApiClientCidr needs ApiEndpoint.
CHOICES = [dict(zip(("SharedTokens", "OtherEndpoints", "ApiEndpoint", "ApiClientCidr", "Zones", "PermissionsBoundary"), values))
           for values in itertools.product(*[("off", "on")] * 3, *[("", EVERYTHING[name]) for name in ("ApiClientCidr", "Zones", "PermissionsBoundary")])
           if not (values[2] == "off" and values[3])]
ENDPOINTS = {"SecretsManagerEndpoint": "secretsmanager"}
WITH = {"SharedTokens": {"DynamoDbEndpoint": "dynamodb"}, "OtherEndpoints": {"KmsEndpoint": "kms", "LogsEndpoint": "logs"},
        "ApiEndpoint": {"ExecuteApiEndpoint": "execute-api"}}


@pytest.fixture(scope="module")
def default():
    return transform(NETWORK)


@pytest.fixture(scope="module")
def largest():
    return transform(NETWORK, **EVERYTHING)


def test_linters_find_nothing(tmp_path):
    """In each of AWS's partitions, and for every combination. cfn-lint tries them all; checkov leaves out what the defaults leave out, so
    each combination is the defaults once."""
    deployment.cfn_lint(NETWORK, regions=deployment.PARTITIONS)
    assert len(CHOICES) == 48
    for number, choice in enumerate(CHOICES):
        (tmp_path / f"network{number}.yaml").write_text(with_defaults(NETWORK, choice))
    deployment.checkov(tmp_path, "-d")
    test_template.test_every_suppression_has_a_reason("network.yaml")


def test_cloudformation_can_read_it():
    """It is deployed as it is: without SAM, and so without YAML's anchors."""
    assert "Transform" not in yaml_parse(TEXT) and not re.search(r"[ \[{][&*]\w+[\n,}\]]", TEXT)


def test_parameters():
    source, theirs = yaml_parse(TEXT), yaml_parse(deployment.TEMPLATE.read_text())["Parameters"]
    assert set(EVERYTHING) == set(source["Parameters"])
    groups = source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(EVERYTHING)
    assert all(p["Description"] and "Default" in p for p in source["Parameters"].values())
    for name in "SecretPrefix", "SharedTokens", "LogRetentionDays", "PermissionsBoundary":
        ours = source["Parameters"][name]
        assert [ours.get(key) for key in ("Type", "Default", "AllowedPattern", "AllowedValues")] == [
            theirs[name].get(key) for key in ("Type", "Default", "AllowedPattern", "AllowedValues")], name


def test_the_document_has_the_parameters():
    """SecretPrefix is the main stack's, and named in the text."""
    defaults = {name: str(p["Default"]) for name, p in yaml_parse(TEXT)["Parameters"].items() if name != "SecretPrefix"}
    section = GUIDE.read_text().split("#### 1. Deploy the network")[1].split("####")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
    assert {name: value.strip("`") for name, value in rows.items()} == defaults | {"Zones": "the first two", "ApiClientCidr": "empty", "PermissionsBoundary": "empty"}


@pytest.mark.parametrize("name, value", [
    ("Cidr", "0.0.0.0/0"), ("Cidr", "10.0.0.0/25"), ("Cidr", "10.0.0.0/8"), ("Cidr", "8.8.8.0/24"), ("Cidr", "172.32.0.0/24"), ("Cidr", ""),
    ("ApiClientCidr", "0.0.0.0/0"), ("ApiClientCidr", "10.0.0.0/0"), ("ApiClientCidr", "10.0.0.0"), ("ApiClientCidr", "8.8.8.8/32"),
    ("Zones", "us-east-1a"), ("Zones", "us-east-1a,us-east-1b,us-east-1c"), ("Zones", "us-east-1a, us-east-1b"),
])
def test_values_that_are_refused(name, value):
    with pytest.raises(AssertionError, match="does not match"):
        transform(NETWORK, **{name: value})


def test_clients_need_the_endpoint():
    with pytest.raises(AssertionError, match="ApiClientCidr needs ApiEndpoint=on"):
        transform(NETWORK, ApiClientCidr="10.0.0.0/8")


def test_subnets(default, largest):
    for resources, block, zones in ((default, "10.64.0.0/24", ["us-east-1a", "us-east-1b"]), (largest, "192.168.0.0/16", ["us-east-1c", "us-east-1f"])):
        subnets = of_type(resources, "AWS::EC2::Subnet")
        assert {name: s["AvailabilityZone"] for name, s in subnets.items()} == {
            f"{kind}Subnet{letter}": zone for kind in ("Public", "Private") for letter, zone in zip("AB", zones)}
        ranges = [ipaddress.ip_network(s["CidrBlock"]) for s in subnets.values()]
        assert all(r.subnet_of(ipaddress.ip_network(block)) and r.num_addresses == 64 for r in ranges)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(ranges, 2))
        assert not any(s["MapPublicIpOnLaunch"] for s in subnets.values())


def test_each_zone_has_its_own_way_out(default):
    """A private subnet leaves by the NAT gateway of its zone, with its own address, and never directly."""
    tables = {a["SubnetId"]: a["RouteTableId"] for a in of_type(default, "AWS::EC2::SubnetRouteTableAssociation").values()}
    routes = {r["RouteTableId"]: r for r in of_type(default, "AWS::EC2::Route").values()}
    gateways, subnets = of_type(default, "AWS::EC2::NatGateway"), of_type(default, "AWS::EC2::Subnet")
    assert set(tables) == set(subnets) and set(tables.values()) == set(routes) == set(of_type(default, "AWS::EC2::RouteTable"))
    addresses = set()
    for name, subnet in subnets.items():
        route = routes[tables[name]]
        assert route["DestinationCidrBlock"] == "0.0.0.0/0"
        if name.startswith("Public"):
            assert route["GatewayId"] == "InternetGateway" and "NatGatewayId" not in route
            continue
        assert "GatewayId" not in route
        gateway = gateways[route["NatGatewayId"]]
        assert subnets[gateway["SubnetId"]]["AvailabilityZone"] == subnet["AvailabilityZone"] and gateway["SubnetId"].startswith("Public")
        addresses.add(gateway["AllocationId"])
    assert addresses == {"${AddressA.AllocationId}", "${AddressB.AllocationId}"}


def test_what_the_stack_leaves_behind(default):
    """The addresses, because a released one can become another customer's while Salesforce admits it; and the log."""
    for policy in "DeletionPolicy", "UpdateReplacePolicy":
        kept = {name: r[policy] for name, r in default.items() if r[policy]}
        assert kept == dict.fromkeys(["AddressA", "AddressB", "FlowLogs"], "Retain" if policy == "UpdateReplacePolicy" else "RetainExceptOnCreate")


HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
NONE = [{"IpProtocol": "-1", "CidrIp": "127.0.0.1/32"}]


def rules(group, direction):
    return [{k: v for k, v in rule.items() if k != "Description"} for rule in group.get("SecurityGroup" + direction, [])]


def test_security_groups(default, largest):
    for resources in default, largest:
        groups = of_type(resources, "AWS::EC2::SecurityGroup")
        assert not rules(groups["FunctionSecurityGroup"], "Ingress"), "nothing connects to the functions"
        assert rules(groups["FunctionSecurityGroup"], "Egress") == [HTTPS | {"CidrIp": "0.0.0.0/0"}]
        assert rules(groups["EndpointSecurityGroup"], "Ingress") == [HTTPS | {"SourceSecurityGroupId": "${FunctionSecurityGroup.GroupId}"}]
        assert all(rules(group, "Egress") == NONE for name, group in groups.items() if name != "FunctionSecurityGroup")
    assert rules(groups["ApiClientSecurityGroup"], "Ingress") == [HTTPS | {"CidrIp": "10.0.0.0/8"}]
    # A client of the API connects to no other endpoint, and nothing uses the default security group.
    users = {name: e.get("SecurityGroupIds") for name, e in of_type(largest, "AWS::EC2::VPCEndpoint").items() if e["VpcEndpointType"] == "Interface"}
    shared = ["${EndpointSecurityGroup.GroupId}"]
    assert users.pop("ExecuteApiEndpoint") == [*shared, "${ApiClientSecurityGroup.GroupId}"] and all(groups == shared for groups in users.values())


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: ",".join(f"{k}={v}" for k, v in choice.items()))
def test_endpoints(choice, default):
    resources = transform(NETWORK, **choice)
    want = ENDPOINTS | {name: s for parameter, endpoints in WITH.items() if choice[parameter] == "on" for name, s in endpoints.items()}
    found = of_type(resources, "AWS::EC2::VPCEndpoint")
    assert {name: e["ServiceName"] for name, e in found.items()} == {name: f"com.amazonaws.us-east-1.{s}" for name, s in want.items()}
    assert set(resources) - set(default) - set(found) == ({"ApiClientSecurityGroup"} if choice["ApiClientCidr"] else set())
    for endpoint in found.values():
        assert endpoint["PolicyDocument"]["Statement"], "without a policy an endpoint allows everything"
        if endpoint["VpcEndpointType"] == "Gateway":
            assert endpoint["RouteTableIds"] == ["PrivateRoutesA", "PrivateRoutesB"]
        else:
            assert endpoint["PrivateDnsEnabled"] is True and endpoint["SubnetIds"] == ["PrivateSubnetA", "PrivateSubnetB"]
    assert default["Vpc"]["Properties"]["EnableDnsSupport"] and default["Vpc"]["Properties"]["EnableDnsHostnames"], "private names need both"
    boundary = resources["FlowLogRole"]["Properties"].get("PermissionsBoundary")
    assert boundary == (choice["PermissionsBoundary"] or None)


@pytest.mark.parametrize("partition, region, prefix", [
    ("aws-cn", "cn-north-1", "cn.com.amazonaws"), ("aws-us-gov", "us-gov-west-1", "com.amazonaws"), ("aws", "eu-west-1", "com.amazonaws")])
def test_service_names_in_other_partitions(partition, region, prefix):
    source = yaml_parse(TEXT)
    values = {name: str(p["Default"]) for name, p in source["Parameters"].items()} | {"AWS::Partition": partition, "AWS::Region": region}
    resources = resolve(source, values | {"SharedTokens": "on", "OtherEndpoints": "on", "ApiEndpoint": "on"})
    names = [e["ServiceName"] for e in of_type(resources, "AWS::EC2::VPCEndpoint").values()]
    assert names == [f"com.amazonaws.{region}.{s}" for s in ("secretsmanager", "dynamodb", "kms", "logs")] + [f"{prefix}.{region}.execute-api"]
    assert f"arn:{partition}:secretsmanager:{region}:" in json.dumps(resources["SecretsManagerEndpoint"])


def test_flow_log(default, largest):
    """Of all traffic in the whole network, kept as long as the other logs."""
    log = default["FlowLog"]["Properties"]
    assert log == {"ResourceType": "VPC", "ResourceId": "Vpc", "TrafficType": "ALL", "LogDestination": "${FlowLogs.Arn}",
                   "DeliverLogsPermissionArn": "${FlowLogRole.Arn}"}
    assert [r["FlowLogs"]["Properties"]["RetentionInDays"] for r in (default, largest)] == ["365", "30"]


# The caller's account, which AWS knows of a signed request. Source: IAM User Guide, "AWS global condition context keys".
OURS, THEIRS = ({"aws:PrincipalAccount": arn.split(":")[4]} for arn in (OWN, FOREIGN))
SECRET = SECRETS + "sftoken/crm-AbCdEf"
LOGS = f"arn:aws:logs:{HERE}:log-group:network:*"
STREAM = LOGS[:-1] + "log-stream:a"
OTHER = "222222222222"


def account(policy, actions, resource, *others):
    """This account's principals may do it to this resource; another account's and an unsigned request may not; and none to others."""
    return [
        *yes(policy, actions, resource, OWN, context=OURS), *no(policy, actions, resource, FOREIGN, context=THEIRS), *no(policy, actions, resource),
        *(ask for other in others for ask in no(policy, actions, other, OWN, context=OURS)),
    ]


def elsewhere(resource):
    """The same in another account, and in another region."""
    return resource.replace("111111111111", OTHER), resource.replace("us-east-1", "us-west-2")


ASKS = [
    *account("SecretsManagerEndpoint", READ + DESCRIBE + WRITE + TAG, SECRET, *elsewhere(SECRET), SECRETS + "other-AbCdEf", SECRETS + "sftoken-AbCdEf"),
    *account("SecretsManagerEndpoint", LIST, "*"),
    *no("SecretsManagerEndpoint", NEVER, SECRET, OWN, context=OURS),

    *account("DynamoDbEndpoint", ITEMS, TABLE + "-1A2B3C", *elsewhere(TABLE + "-1A2B3C"), f"arn:aws:dynamodb:{HERE}:table/orders"),
    *no("DynamoDbEndpoint", NEVER_THE_TABLE, TABLE + "-1A2B3C", OWN, context=OURS),

    *account("KmsEndpoint", ("kms:Decrypt", "kms:GenerateDataKey"), KEY, *elsewhere(KEY), KEY.replace("key/", "alias/")),
    *no("KmsEndpoint", ("kms:Encrypt", "kms:CreateGrant", "kms:ScheduleKeyDeletion", "kms:PutKeyPolicy"), KEY, OWN, context=OURS),

    *account("LogsEndpoint", LOG, STREAM, *elsewhere(STREAM), f"arn:aws:logs:{HERE}:destination:a"),
    *no("LogsEndpoint", ("logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:GetLogEvents", "logs:PutResourcePolicy"), STREAM, OWN, context=OURS),

    # Callers may be of any account; the API's own policy decides about them, and that of an unsigned request is to be refused by the API.
    *(ask for method in ("GET", "POST", "DELETE") for resource in [f"{API}/v1/{method}/tokens/crm"] for ask in [
        *yes("ExecuteApiEndpoint", CALL, resource, OWN, context=OURS), *yes("ExecuteApiEndpoint", CALL, resource, FOREIGN, context=THEIRS),
        *yes("ExecuteApiEndpoint", CALL, resource),
        *(ask for other in elsewhere(resource) for ask in no("ExecuteApiEndpoint", CALL, other, OWN, context=OURS)),
        *no("ExecuteApiEndpoint", CALL, f"{API}/test/{method}/tokens/crm", OWN, context=OURS),
        *no("ExecuteApiEndpoint", CALL, f"{API}/v1/{method}/orders/crm", OWN, context=OURS),
    ]),
    *no("ExecuteApiEndpoint", CALL, f"{API}/v1/PUT/tokens/crm", OWN, context=OURS),
    *no("ExecuteApiEndpoint", ("execute-api:ManageConnections", "execute-api:InvalidateCache"), f"{API}/v1/GET/tokens/crm", OWN, context=OURS),

    *service("FlowLogRole trust", "sts:AssumeRole", "", "vpc-flow-logs.amazonaws.com", [{"aws:SourceAccount": "111111111111"}],
             [{"aws:SourceAccount": OTHER}, {}]),
    *yes("FlowLogRole", (*LOG, "logs:DescribeLogStreams"), STREAM), *no("FlowLogRole", (*LOG, "logs:DescribeLogStreams"), STREAM.replace("network", "other")),
    *no("FlowLogRole", ("logs:CreateLogGroup", "logs:DeleteLogStream", "logs:GetLogEvents", "logs:PutRetentionPolicy"), STREAM),
]


@pytest.fixture(scope="module")
def documents():
    """Every policy document in the template, by the name that the lines above use."""
    found = {}
    for name, r in transform(NETWORK, **EVERYTHING | {"SecretPrefix": "sftoken/"}).items():
        match r["Type"]:
            case "AWS::EC2::VPCEndpoint":
                found[name] = r["Properties"]["PolicyDocument"]
            case "AWS::IAM::Role":
                policy, = r["Properties"]["Policies"]
                found |= {name: policy["PolicyDocument"], name + " trust": r["Properties"]["AssumeRolePolicyDocument"]}
            case _:
                assert "Policy" not in json.dumps(r["Properties"])
    return json.loads(json.dumps(found).replace("${FlowLogs.Arn}", LOGS))


def test_every_policy_is_asked(documents):
    assert set(documents) == {ask.policy for ask in ASKS}


@pytest.mark.parametrize("ask", ASKS, ids=str)
def test_policy(documents, ask):
    assert holds(documents[ask.policy], ask)


def test_every_change_of_a_policy_is_noticed(documents):
    """A statement, an action or a limit whose removal nothing notices does not belong there."""
    unnoticed = [f"{name}: {what}" for name, document in documents.items() for what, changed in mutants(document)
                 if all(holds(changed, ask) for ask in ASKS if ask.policy == name)]
    assert not unnoticed


@pytest.mark.parametrize("endpoint, prefix", [("SecretsManagerEndpoint", "secretsmanager:"), ("DynamoDbEndpoint", "dynamodb:")])
def test_an_endpoint_lets_through_what_the_roles_allow(documents, endpoint, prefix):
    """A permission that a role gets must be added here, or the function that needs it fails in this network only."""
    roles = of_type(transform(deployment.TEMPLATE, SharedTokens="on"), "AWS::IAM::Role")
    theirs = {action for name in ("TokenRole", "RotateRole") for policy in roles[name]["Policies"] for s in policy["PolicyDocument"]["Statement"]
              for action in listed(s["Action"]) if action.startswith(prefix)}
    assert {action for s in documents[endpoint]["Statement"] for action in listed(s["Action"])} == theirs


def test_no_wildcard_actions(documents):
    assert not [s for document in documents.values() for s in document["Statement"] if "*" in str(s["Action"])]


def test_what_aws_accepts_in_endpoint_policies(documents):
    """Conditions on the account must be exact, an ARN's account is complete or a wildcard, and gateway endpoints need the principal "*".
    Source: AWS PrivateLink Guide, "Control access to VPC endpoints using endpoint policies"."""
    for name, document in documents.items():
        for s in document["Statement"] if name.endswith("Endpoint") else []:
            assert s["Principal"] == "*" and set(s.get("Condition", {})) <= {"StringEquals"}
            assert all(r == "*" or r.split(":")[4] == "111111111111" for r in listed(s["Resource"]))


def test_outputs():
    assert set(yaml_parse(TEXT)["Outputs"]) == {"SubnetIds", "SecurityGroupIds", "EgressAddresses", "VpcEndpointId"}


NOT_IN_THE_EMULATOR = {"AWS::EC2::EIP", "AWS::EC2::NatGateway", "AWS::EC2::FlowLog"}


def reduced():
    """The template as the emulator can deploy it."""
    source = yaml_parse(TEXT)
    source["Resources"] = {name: r for name, r in source["Resources"].items()
                           if r["Type"] not in NOT_IN_THE_EMULATOR and "NatGatewayId" not in r.get("Properties", {})}
    del source["Outputs"]["EgressAddresses"]
    return json.dumps(source)


@pytest.fixture(scope="module")
def network(sam, environment, tmp_path_factory):
    """The network, deployed with the command of the document."""
    directory = tmp_path_factory.mktemp("network")
    (directory / "network.yaml").write_text(reduced())
    command = deployment.run("test/readme-block", str(GUIDE), "1. Deploy the network", env=None).rstrip()
    done = deployment.shell(f"{command} --parameter-overrides SharedTokens=on OtherEndpoints=on ApiEndpoint=on ApiClientCidr=10.0.0.0/8",
                            environment(), cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return sam.stack("sftoken-network")


def test_the_deployed_network(network, emulator):
    ec2 = emulator.client("ec2")
    subnets = ec2.describe_subnets(SubnetIds=network.outputs["SubnetIds"].split(","))["Subnets"]
    assert [s["SubnetId"] for s in subnets] == [network.resources[name] for name in ("PrivateSubnetA", "PrivateSubnetB")]
    assert len({s["AvailabilityZone"] for s in subnets}) == 2 and not any(s["MapPublicIpOnLaunch"] for s in subnets)
    group, = ec2.describe_security_groups(GroupIds=[network.outputs["SecurityGroupIds"]])["SecurityGroups"]
    assert group["VpcId"] == subnets[0]["VpcId"] and not group["IpPermissions"]
    assert [(r["IpProtocol"], r["FromPort"], r["ToPort"]) for r in group["IpPermissionsEgress"]] == [("tcp", 443, 443)]
    endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [group["VpcId"]]}])["VpcEndpoints"]
    assert {e["VpcEndpointId"]: e["ServiceName"].rpartition(".")[2] for e in endpoints} == {
        network.resources[name]: s for name, s in (ENDPOINTS | {n: s for more in WITH.values() for n, s in more.items()}).items()}
    assert network.outputs["VpcEndpointId"] == network.resources["ExecuteApiEndpoint"]


def test_the_default_security_group(network, emulator, environment):
    """Without rules, as the document says. In AWS it also has an inbound rule, for itself, which the emulator does not make."""
    def rules_there():
        groups = emulator.client("ec2").describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [network.resources["Vpc"]]}])["SecurityGroups"]
        return [g["IpPermissions"] + g["IpPermissionsEgress"] for g in groups if g["GroupName"] == "default"]

    assert rules_there() != [[]]
    commands = deployment.run("test/readme-block", str(GUIDE), "The default security group", env=None)
    done = deployment.shell(commands, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert rules_there() == [[]]
