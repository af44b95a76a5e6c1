"""Rotations and changes of a secret, with the deployed rotate function, the emulator's events and the simulated org."""

import json
import uuid

from aws import wait_for
from rotations import STEPS, begin, dead_letter, labels, log_lines, reaction, rotate, step, value


def test_a_rotation(stack, emulator, org, new_app, admin):
    app = new_app(rotates=True)
    before = stack.call(admin, app.name).json()["access_token"]
    token = rotate(emulator, stack, "sftoken/" + app.name)
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == token != held["AWSPREVIOUS"]
    stored, real = value(emulator, app.name), org.credentials(app.name)
    assert stored["consumerKey"] == real.consumer_key != app.consumer_key
    same, changed = stored["consumerSecret"] == real.consumer_secret, real.consumer_secret != app.consumer_secret
    assert same and changed
    # Everything else in the secret is as it was, and no caller notices.
    assert {k: v for k, v in stored.items() if not k.startswith("consumer") or k == "consumerId"} == {
        "baseUri": org.url, "appId": app.app_id, "consumerId": app.consumer_id}
    assert org.accepts(before)
    assert stack.call(admin, app.name).status == 200


def test_each_step_may_run_again(stack, emulator, org, new_app):
    app = new_app(rotates=True)
    token = begin(emulator, "sftoken/" + app.name)
    for name in STEPS:
        assert [step(emulator, stack, "sftoken/" + app.name, name, token) for _ in range(2)] == ["", ""]
    assert labels(emulator, app.name)["AWSCURRENT"] == token
    assert value(emulator, app.name)["consumerKey"] == org.credentials(app.name).consumer_key


def test_current_works_between_the_steps(stack, emulator, org, new_app):
    app = new_app(rotates=True)
    token = begin(emulator, "sftoken/" + app.name)
    for name in STEPS[:3]:
        assert step(emulator, stack, "sftoken/" + app.name, name, token) == ""
        assert value(emulator, app.name)["consumerKey"] == app.consumer_key == org.credentials(app.name).consumer_key
        assert value(emulator, app.name, "AWSPENDING")["consumerKey"] != app.consumer_key


def test_a_step_of_a_rotation_that_was_abandoned(stack, emulator, new_app, put_secret):
    """A person has written the secret: Secrets Manager has taken AWSPENDING off."""
    app = new_app(rotates=True)
    token = begin(emulator, "sftoken/" + app.name)
    assert step(emulator, stack, "sftoken/" + app.name, "createSecret", token) == ""
    emulator.client("secretsmanager").update_secret_version_stage(
        SecretId="sftoken/" + app.name, VersionStage="AWSPENDING", RemoveFromVersionId=token)
    assert "is not AWSPENDING" in step(emulator, stack, "sftoken/" + app.name, "setSecret", token)


def test_the_placeholder_passes(stack, emulator, put_secret, org):
    """Secrets Manager tries the function when the schedule is made, before any credentials are stored."""
    put_secret("fresh", {"consumerKey": "replace-me", "consumerSecret": "replace-me", "baseUri": "https://replace-me.my.salesforce.com"})
    token = str(uuid.uuid4())
    secrets = emulator.client("secretsmanager")
    current = secrets.get_secret_value(SecretId="sftoken/fresh")["SecretString"]
    secrets.put_secret_value(SecretId="sftoken/fresh", SecretString=current, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    assert step(emulator, stack, "sftoken/fresh", "testSecret", token) == ""


# Events: put-secret-value is all that a person does here.

def test_good_credentials_stay(stack, emulator, org, new_app, put_secret):
    app = new_app()
    version = put_secret(app.name, org.regenerate(app.name))
    assert reaction(stack, version, "AWSCURRENT")["outcome"] == "ok"
    assert labels(emulator, app.name)["AWSCURRENT"] == version


def test_bad_credentials_are_rolled_back(stack, emulator, org, new_app, put_secret, admin):
    app = new_app()
    good = labels(emulator, app.name)["AWSCURRENT"]
    bad = put_secret(app.name, app.value(org.url) | {"consumerSecret": "mistyped"})
    line = reaction(stack, bad, "AWSCURRENT")
    assert line["RolledBack"] == 1 and "mistyped" not in json.dumps(line)
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == good and held["REJECTED"] == bad
    # The roll-back raises the same event, and there it rests.
    assert reaction(stack, good, "AWSCURRENT")["action"] == "logged in with the current credentials"
    assert stack.call(admin, app.name).status == 200


def test_a_good_candidate_becomes_current(stack, emulator, org, new_app, put_secret):
    app = new_app()
    version = put_secret(app.name, org.regenerate(app.name), labels=["CANDIDATE"])
    assert reaction(stack, version, "CANDIDATE")["Rotations"] == 1
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == version and "CANDIDATE" not in held
    assert reaction(stack, version, "AWSCURRENT")["outcome"] == "ok"


def test_a_bad_candidate_is_rejected(stack, emulator, org, new_app, put_secret):
    app = new_app()
    before = labels(emulator, app.name)["AWSCURRENT"]
    version = put_secret(app.name, app.value(org.url) | {"consumerSecret": "mistyped"}, labels=["CANDIDATE"])
    assert reaction(stack, version, "CANDIDATE")["CandidatesRefused"] == 1
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == before and held["REJECTED"] == version and "CANDIDATE" not in held


def test_compromised_credentials_are_deleted(stack, emulator, org, new_app):
    """COMPROMISED on the current version, then a rotation: the old credentials are deleted at Salesforce, not left for 30 days."""
    app = new_app(rotates=True)
    leaked = labels(emulator, app.name)["AWSCURRENT"]
    emulator.client("secretsmanager").update_secret_version_stage(
        SecretId="sftoken/" + app.name, VersionStage="COMPROMISED", MoveToVersionId=leaked)
    reaction(stack, leaked, "COMPROMISED")
    rotate(emulator, stack, "sftoken/" + app.name)
    assert not org.logs_in(app)
    assert org.logs_in(org.credentials(app.name))


def test_another_secret_is_none_of_its_business(stack, emulator, org, new_app, put_secret):
    """The rule passes on what lies under the prefix alone. The event after it is the sign that it would have arrived."""
    secrets = emulator.client("secretsmanager")
    name = "unrelated-" + uuid.uuid4().hex
    foreign = secrets.create_secret(Name=name, SecretString="{}")["VersionId"]
    secrets.put_secret_value(SecretId=name, SecretString="{}", ClientRequestToken=str(uuid.uuid4()))
    app = new_app()
    version = put_secret(app.name, app)
    reaction(stack, version, "AWSCURRENT")
    assert foreign not in json.dumps(stack.log("RotateLogs")) and name not in json.dumps(stack.log("RotateLogs"))


def test_what_fails_is_tried_again_and_kept(stack, emulator, org, new_app):
    """An outage is no refusal: the event fails three times and is then kept. The emulator's EventBridge calls a function once, where
    AWS's calls it asynchronously: the event is handed to Lambda here as EventBridge does it."""
    app = new_app()
    version = labels(emulator, app.name)["AWSCURRENT"]
    arn = emulator.client("secretsmanager").describe_secret(SecretId="sftoken/" + app.name)["ARN"]
    event = {
        "source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "resources": [arn],
        "detail": {"name": "sftoken/" + app.name, "labelUpdated": "AWSCURRENT", "versionId": version},
    }
    org.inject_fault("token", "503 with a web page")
    try:
        emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], InvocationType="Event", Payload=json.dumps(event))
        message = wait_for(lambda: dead_letter(emulator, stack, version), 120, "the dead letter")
    finally:
        org.clear_faults()
    assert message["requestPayload"] == event
    assert len(log_lines(stack, msg="label", secret_version=version, outcome="failed")) == 3
    assert labels(emulator, app.name) == {"AWSCURRENT": version}
