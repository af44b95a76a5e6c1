"""The smallest deployment, with every parameter at its default, and the full one, with every parameter set; both without the
rotation's schedule, which the emulator does not have."""

import json

import aws
from deployment import EVERYTHING, VERSION
from rotations import rotate

APP, PREFIX = EVERYTHING["AppName"], EVERYTHING["SecretPrefix"]
OUTPUTS = {
    "ApiUrl", "ApiId", "SecretPrefix", "TokenFunctionArn", "RotateFunctionArn", "SecretArn", "KeyArn", "AlarmTopicArn",
    "CallerPolicyArn", "CrossAccountStatement",
}


def test_outputs(stack, full):
    for deployed in stack, full:
        assert set(deployed.outputs) == OUTPUTS | ({"TokenTable", "ProbeRoleArn"} if deployed is full else set())
        assert deployed.outputs["ApiUrl"] == f"https://{deployed.outputs['ApiId']}.execute-api.{aws.REGION}.amazonaws.com/v1"


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
