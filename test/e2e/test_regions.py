"""A primary stack in one region and a standby stack in another, deployed as docs/how-to/regions.md describes it: the standby first, since the
replica gets its key. The emulator replicates a secret and its changes at once and enforces IAM in both regions. It does not refuse a
write to a replica, and knows neither a replication that fails nor a region that is lost: internal/sim/localaws plays these."""

import pytest

import deployment

SECOND, OTHER = "eu-west-1", "eu-central-1"
TAGS = {"team": "identity", "cost-center": "1234"}
AS_OPTIONS = [f"{key}={value}" for key, value in TAGS.items()]


@pytest.fixture(scope="module")
def settings(org):
    return {"SecretPrefix": "regions/", "RotationSchedule": "off", "Architecture": deployment.ARCHITECTURE, "SalesforceHosts": org.host}


@pytest.fixture(scope="module")
def standby(sam, template, settings):
    return sam.deploy(template, "standby", region=SECOND, tags=AS_OPTIONS, Standby="true", **settings)


@pytest.fixture(scope="module")
def primary(sam, template, settings, standby):
    # Two, since the emulator, which does not split a text in a condition, takes one for two. There is no stack in the other region.
    keys = [standby.outputs["KeyArn"], standby.outputs["KeyArn"].replace(SECOND, OTHER)]
    return sam.deploy(template, "primary", ReplicaRegions=f"{SECOND},{OTHER}", ReplicaKeyArns=",".join(keys), **settings)


@pytest.fixture(scope="module")
def app(primary, org, put_secret):
    app = org.add_app("regions-crm")
    put_secret("crm", app.value(org.url), prefix="regions/")
    return app


def described(emulator):
    return emulator.client("secretsmanager", region=SECOND).describe_secret(SecretId="regions/crm")


def test_the_replica_has_the_standby_stacks_key(emulator, primary, standby):
    replica = described(emulator)
    assert replica["PrimaryRegion"] == "us-east-1" and replica["KmsKeyId"] == standby.outputs["KeyArn"]
    assert "SecretArn" in primary.outputs and "SecretArn" not in standby.outputs


def test_both_stacks_vend(primary, standby, app, admin, org):
    for stack in primary, standby:
        response = stack.call(admin, "crm")
        assert response.status == 200 and org.accepts(response.json()["access_token"]), stack.name


def test_the_daily_check_of_the_standby_only_looks(emulator, standby, app):
    """It logs in, and does not write its result to the replica, as the primary stack's does."""
    before = described(emulator)
    emulator.client("lambda", region=SECOND).invoke(
        FunctionName=standby.resources["RotateFunction"], Payload=b'{"detail-type": "Scheduled Event"}')
    line, = (line for line in standby.log("RotateLogs") if line["msg"] == "check")
    assert (line["app"], line["outcome"], line["LoginFailed"], line["primary_region"]) == ("crm", "ok", 0, "us-east-1")
    after = described(emulator)
    assert (after["Tags"], after["VersionIdsToStages"]) == (before["Tags"], before["VersionIdsToStages"])


def test_the_promoted_stack_vends(sam, template, standby, app, admin):
    """What the deployment adds, the schedule of a rotation, is looked at in test_template.py, since the emulator does not have it. Nor does
    it have StopReplicationToReplica, which comes before."""
    promoted = sam.deploy(template, "standby", region=SECOND, tags=AS_OPTIONS, Standby="promoted")
    assert promoted.resources == standby.resources and promoted.call(admin, "crm").status == 200


def test_tags_are_on_every_kind_of_resource(emulator, standby):
    """Those of the stack, also on what SAM makes: the functions and the stage. The emulator has no tags of rules and aliases. A deployment
    without them would have taken them away: sam deploy sends an empty list then."""
    def client(service):
        return emulator.client(service, region=SECOND)

    r, api = standby.resources, standby.outputs["ApiId"]
    alarm, = client("cloudwatch").describe_alarms(AlarmNames=[r["TokenErrors"]])["MetricAlarms"]
    found = {
        "alarm": client("cloudwatch").list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"],
        "topic": client("sns").list_tags_for_resource(ResourceArn=r["AlarmTopic"])["Tags"],
        "role": client("iam").list_role_tags(RoleName=r["TokenRole"])["Tags"],
        "key": [{"Key": t["TagKey"], "Value": t["TagValue"]} for t in client("kms").list_resource_tags(KeyId=r["Key"])["Tags"]],
        "API": client("apigateway").get_rest_api(restApiId=api)["tags"],
        "stage": client("apigateway").get_stage(restApiId=api, stageName="v1")["tags"],
        "queue": client("sqs").list_queue_tags(QueueUrl=r["DeadLetters"])["Tags"],
        "logs": client("logs").list_tags_log_group(logGroupName=r["TokenLogs"])["tags"],
    } | {name: client("lambda").list_tags(Resource=standby.outputs[name + "Arn"])["Tags"] for name in ("TokenFunction", "RotateFunction")}
    for name, tags in found.items():
        tags = tags if isinstance(tags, dict) else {t["Key"]: t["Value"] for t in tags}
        assert TAGS.items() <= tags.items(), name
