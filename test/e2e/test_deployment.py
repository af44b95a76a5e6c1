"""The smallest deployment, with every parameter at its default, and the full one, with every parameter set that can be set together;
both without the rotation's schedule, which the emulator does not have.

Nor does it have CodeDeploy and the association of a web ACL (deployment.NOT_EMULATED). It deploys a custom domain with its record, but
serves no requests by its name. It drops VpcConfig and the API's endpoint type, and knows no VPC endpoint of a request: all functions and
APIs are in one network. What it does with a private API's policy is in test_access.py, and what AWS gets of these in test_template.py.
"""

import json

import pytest

import aws
from combinations import given
from deployment import EVERYTHING, PRIVATE, VERSION
from rotations import rotate

APP, PREFIX = EVERYTHING["AppName"], EVERYTHING["SecretPrefix"]
OUTPUTS = {
    "ApiUrl", "ApiId", "SecretPrefix", "TokenFunctionArn", "RotateFunctionArn", "SecretArn", "KeyArn", "AlarmTopicArn",
    "CallerPolicyArn", "CrossAccountStatement",
}


def test_outputs(stack, full):
    for deployed in stack, full:
        assert set(deployed.outputs) == OUTPUTS | ({"TokenTable", "ProbeRoleArn", "DomainTarget"} if deployed is full else set())
    assert stack.outputs["ApiUrl"] == f"https://{stack.outputs['ApiId']}.execute-api.{aws.REGION}.amazonaws.com/v1"
    assert full.outputs["ApiUrl"] == f"https://{EVERYTHING['DomainName']}/v1"


def test_custom_domain(full, emulator):
    gateway, route53 = emulator.client("apigateway"), emulator.client("route53")
    domain, = (d for d in gateway.get_domain_names()["items"] if d["domainName"] == EVERYTHING["DomainName"])
    assert domain["regionalDomainName"] == full.outputs["DomainTarget"] and domain["regionalCertificateArn"] == EVERYTHING["CertificateArn"]
    mapping, = gateway.get_base_path_mappings(domainName=EVERYTHING["DomainName"])["items"]
    assert (mapping["basePath"], mapping["restApiId"], mapping["stage"]) == ("v1", full.outputs["ApiId"], "v1")
    zone, = route53.list_hosted_zones()["HostedZones"]
    alias, = (r["AliasTarget"] for r in route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"] if r["Type"] == "A")
    assert alias["DNSName"].rstrip(".") == full.outputs["DomainTarget"]


def test_tracing(stack, full, emulator):
    for deployed, mode in (stack, "PassThrough"), (full, "Active"):
        for name in "TokenFunction", "RotateFunction":
            assert emulator.client("lambda").get_function_configuration(FunctionName=deployed.resources[name])["TracingConfig"] == {"Mode": mode}


def test_private(sam, template):
    """Its callers use the name of the API for one of the endpoints."""
    private = sam.deploy(template, "private", AppName="off", SecretPrefix="private/", **PRIVATE, **given("SubnetIds", "SecurityGroupIds"))
    endpoint = PRIVATE["VpcEndpointIds"].split(",")[0]
    assert private.outputs["ApiUrl"] == f"https://{private.outputs['ApiId']}-{endpoint}.execute-api.{aws.REGION}.amazonaws.com/v1"


def test_the_rules_refuse_a_combination(sam, template, emulator):
    """Before anything is made."""
    with pytest.raises(AssertionError, match="SubnetIds and SecurityGroupIds need each other"):
        sam.deploy(template, "refused", RotationSchedule="off", **given("SubnetIds"))
    stacks = emulator.client("cloudformation").describe_stacks()["Stacks"]
    assert not any(s["StackStatus"].startswith(("CREATE", "UPDATE")) for s in stacks if s["StackName"] == "refused")


def test_smallest(sam, template, emulator):
    # But for a prefix of its own: the secret of the default's name is the other stack's.
    smallest = sam.deploy(template, "smallest", RotationSchedule="off", SecretPrefix="smallest/")
    assert set(smallest.outputs) == OUTPUTS
    secret = emulator.client("secretsmanager").get_secret_value(SecretId="smallest/crm")["SecretString"]
    assert json.loads(secret)["consumerSecret"] == "replace-me"


def test_the_limits_of_the_api(sam, template, admin):
    """Each method has a bucket of its own: a token for each request of the burst, and none for the next one at this rate."""
    limited = sam.deploy(template, "limited", AppName="off", SecretPrefix="limited/", ApiRateLimit="0.01", ApiBurstLimit="2")
    for method in "GET", "POST", "DELETE":
        assert [limited.call(admin, "nosuch", method).status for _ in range(4)] == [404, 404, 429, 429], method


def test_no_first_app(sam, template):
    bare = sam.deploy(template, "bare", AppName="off", SecretPrefix="bare/")
    assert set(bare.outputs) == OUTPUTS - {"SecretArn", "CallerPolicyArn", "CrossAccountStatement"}


def test_version_in_every_line(stack, emulator, admin, new_app):
    assert stack.call(admin, new_app().name).status == 200
    assert stack.call(admin, "nosuch").status == 404
    emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], Payload=b'{"detail-type": "Scheduled Event"}')
    for group in "TokenLogs", "RotateLogs":
        assert {line["version"] for line in stack.log(group)} == {VERSION}


def test_the_admin_app_changes_the_credentials(emulator, full, erp, org):
    """The app's own user may not change it."""
    rotate(emulator, full, PREFIX + APP)
    assert org.credentials(erp.name).consumer_key != erp.consumer_key


def test_prefetch(full, erp, admin):
    """A token is fetched, or attempted, before the first request."""
    full.call(admin, APP)
    assert {line["app"] for line in full.log("TokenLogs") if line["msg"] == "prefetch"} == set(EVERYTHING["Prefetch"].split(","))


def test_deploying_the_same_build_again_changes_nothing(sam, stack, template):
    assert "No changes to deploy" in sam.deploy_again(template, stack)
