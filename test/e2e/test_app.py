"""app.yaml, which adds an app to a deployment: as docs/how-to/deploy.md describes it, and compared with the first app of template.yaml."""

import itertools
import json
import re

import pytest
from samtranslator.yaml_helper import yaml_parse

import combinations
import deployment
from combinations import given
from deployment import TEMPLATE
from rotations import reaction
from test_access import invoke
from transform import outputs, transform

APP = deployment.ROOT / "app.yaml"
HERE = {
    "ApiId": "abcdef1234", "KeyArn": "arn:aws:kms:us-east-1:111111111111:key/1", "AlarmTopicArn": "arn:aws:sns:us-east-1:111111111111:topic",
    "RotateFunctionArn": "arn:aws:lambda:us-east-1:111111111111:function:rotate",
}
THE_DEPLOYMENTS = ["SecretPrefix", "ApiId", "KeyArn", "RotateFunctionArn", "AlarmTopicArn"]


@pytest.fixture(scope="module")
def added(stack, sam, environment):
    """The stack of app.yaml, deployed as the document describes it, without the schedule, which the emulator does not have."""
    guide = deployment.ROOT / "docs/how-to/deploy.md"
    output = re.search(r"^output\(\) .*$", guide.read_text(), re.MULTILINE)[0]
    deploy, put = deployment.run("test/readme-block", str(guide), "Add an app", env=None).rstrip().rsplit("\n", 1)
    assert put == "sftoken secret put erp"
    done = deployment.shell(f"{output}\n{deploy} AppName=hr RotationSchedule=off", environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return sam.stack("sftoken-erp")


@pytest.fixture(scope="module")
def hr_caller(added, principals):
    """A role with the policy that the added app has for it."""
    return principals.session(managed=[added.outputs["CallerPolicyArn"]])


def test_an_added_app_vends_when_its_secret_is_put(stack, hr_caller, org, put_secret):
    version = put_secret("hr", org.add_app("hr"))
    # The rotate function may read it, and has logged in with it.
    assert reaction(stack, version, "AWSCURRENT")["outcome"] == "ok"
    response = stack.call(hr_caller, "hr")
    assert response.status == 200 and org.accepts(response.json()["access_token"])
    assert stack.call(hr_caller, "hr", "POST").status == 200


@pytest.mark.parametrize("method, app", [("DELETE", "hr"), ("GET", "crm"), ("POST", "crm")])
def test_an_added_apps_policy_is_for_that_app(stack, hr_caller, crm, method, app):
    assert stack.call(hr_caller, app, method).status == 403


def test_an_added_apps_statement_for_another_account(stack, added, emulator):
    iam, arn = emulator.client("iam"), added.outputs["CallerPolicyArn"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    assert [json.loads(added.outputs["CrossAccountStatement"])] == document["Statement"] == [invoke(stack, "GET/tokens/hr", "POST/tokens/hr")]


def test_parameters():
    source, deployed = yaml_parse(APP.read_text()), yaml_parse(TEMPLATE.read_text())
    groups = [group["Parameters"] for group in source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]]
    assert sorted(sum(groups, [])) == sorted(source["Parameters"]) and groups[1] == THE_DEPLOYMENTS
    assert all(p["Description"] and (p.get("AllowedPattern") or p["AllowedValues"]) for p in source["Parameters"].values())
    assert set(THE_DEPLOYMENTS) <= set(deployed["Outputs"])
    for name in "AppName", "SecretPrefix", "RotationSchedule", "RunbookUrl", "ReplicaRegions", "ReplicaKeyArns":
        assert source["Parameters"][name]["AllowedPattern"] == deployed["Parameters"][name]["AllowedPattern"]
    assert source["Parameters"]["Standby"] == deployed["Parameters"]["Standby"] | {"Description": source["Parameters"]["Standby"]["Description"]}
    assert source["Parameters"]["RunbookUrl"] == deployed["Parameters"]["RunbookUrl"] | {
        "ConstraintDescription": source["Parameters"]["RunbookUrl"]["ConstraintDescription"]}


def test_an_added_app_is_like_the_first_one():
    """Its secret, schedule, alarms and caller policy are template.yaml's, in every property."""
    there = {HERE["ApiId"]: "Api", HERE["KeyArn"]: "Key", HERE["AlarmTopicArn"]: "AlarmTopic", HERE["RotateFunctionArn"]: "${RotateFunction.Arn}"}
    for schedule, region in itertools.product(["off", "rate(30 days)", "cron(0 3 1 * ? *)"], combinations.INTERACTING["second region"]):
        first = transform(TEMPLATE, AppName="erp", RotationSchedule=schedule, **region)
        more = transform(APP, AppName="erp", RotationSchedule=schedule, **HERE, **region)
        assert ("Rotation" in more) == ("RotationOverdue" in more) == (schedule != "off" and region.get("Standby") != "true")
        assert ("Secret" in more) == ("Standby" not in region) and ("ReplicationFails" in more) == ("ReplicaRegions" in region)
        assert ("SecretArn" in outputs(APP, AppName="erp", RotationSchedule=schedule, **HERE, **region)) == ("Secret" in more)
        for name, resource in more.items():
            text = json.dumps(resource)
            for theirs, ours in there.items():
                text = text.replace(theirs, ours)
            # The permission that the first app's schedule waits for is there long before.
            assert json.loads(text) == first[name] | {"DependsOn": []}, name
        # What names the first app is made for each. Its schedule does only if it is for a secret that another stack made.
        assert set(more) - {"Rotation"} == {name for name, r in first.items() if "erp" in json.dumps(r["Properties"])} - {"Rotation"}


@pytest.mark.parametrize("parameters, why", [
    ({"ReplicaRegions": "eu-west-1"}, "ReplicaRegions and ReplicaKeyArns"),
    ({"ReplicaKeyArns": "arn:aws:kms:eu-west-1:111111111111:key/1"}, "ReplicaRegions and ReplicaKeyArns"),
    (given("ReplicaRegions", "ReplicaKeyArns", Standby="true"), "Standby=false"), (given("ReplicaRegions", "ReplicaKeyArns", Standby="promoted"), "Standby=false"),
], ids=str)
def test_refused_combinations(parameters, why):
    with pytest.raises(AssertionError, match=why):
        transform(APP, AppName="erp", **HERE, **parameters)
