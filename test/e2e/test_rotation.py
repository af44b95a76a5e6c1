"""Rotations and changes of a secret, with the deployed rotate function, the emulator's events and the simulated org."""

import json
import uuid

import pytest

from aws import wait_for

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def labels(emulator, app):
    """Who has which label: version ids by label."""
    stages = emulator.client("secretsmanager").describe_secret(SecretId="sftoken/" + app)["VersionIdsToStages"]
    return {label: version for version, held in stages.items() for label in held}


def value(emulator, app, label="AWSCURRENT"):
    got = emulator.client("secretsmanager").get_secret_value(SecretId="sftoken/" + app, VersionStage=label)
    return json.loads(got["SecretString"])


def step(emulator, stack, secret, name, token):
    """One step, as Secrets Manager asks for it; returns the error, empty for none. It names the secret by its ARN."""
    arn = emulator.client("secretsmanager").describe_secret(SecretId=secret)["ARN"]
    event = {"Step": name, "SecretId": arn, "ClientRequestToken": token, "RotationToken": str(uuid.uuid4())}
    answer = emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], Payload=json.dumps(event))
    text = answer["Payload"].read().decode()
    return text if "FunctionError" in answer else ""


def begin(emulator, secret):
    """What Secrets Manager does before the first step: it puts AWSPENDING, without a value, on a version that the token names. The
    emulator's own RotateSecret calls nobody."""
    token = str(uuid.uuid4())
    emulator.client("secretsmanager").put_secret_value(SecretId=secret, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    return token


def rotate(emulator, stack, secret):
    """A whole rotation, driven by hand; returns the new version's id."""
    token = begin(emulator, secret)
    for name in STEPS:
        assert (failed := step(emulator, stack, secret, name, token)) == "", failed
    return token


@pytest.fixture(scope="module")
def anybody(principals):
    return principals.user({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"})


def test_a_rotation(stack, emulator, org, new_app, anybody):
    app = new_app(rotates=True)
    before = stack.call(anybody, app.name).json()["access_token"]
    token = rotate(emulator, stack, "sftoken/" + app.name)
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == token != held["AWSPREVIOUS"]
    stored, real = value(emulator, app.name), org.pair(app.name)
    assert (stored["consumerKey"], stored["consumerSecret"]) == (real.consumer_key, real.consumer_secret)
    assert real.consumer_key != app.consumer_key and real.consumer_secret != app.consumer_secret
    # Everything else in the secret is as it was, and no caller notices.
    assert {k: v for k, v in stored.items() if not k.startswith("consumer") or k == "consumerId"} == {
        "baseUri": org.url, "appId": app.app_id, "consumerId": app.consumer_id}
    assert org.accepts(before)
    assert stack.call(anybody, app.name).status == 200


def test_each_step_may_run_again(stack, emulator, org, new_app):
    app = new_app(rotates=True)
    token = begin(emulator, "sftoken/" + app.name)
    for name in STEPS:
        assert [step(emulator, stack, "sftoken/" + app.name, name, token) for _ in range(2)] == ["", ""]
    assert labels(emulator, app.name)["AWSCURRENT"] == token
    assert value(emulator, app.name)["consumerKey"] == org.pair(app.name).consumer_key


def test_current_works_between_the_steps(stack, emulator, org, new_app):
    app = new_app(rotates=True)
    token = begin(emulator, "sftoken/" + app.name)
    for name in STEPS[:3]:
        assert step(emulator, stack, "sftoken/" + app.name, name, token) == ""
        assert value(emulator, app.name)["consumerKey"] == app.consumer_key == org.pair(app.name).consumer_key
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
    """Secrets Manager tries the function when the schedule is made, before anybody has stored a pair."""
    put_secret("fresh", {"consumerKey": "replace-me", "consumerSecret": "replace-me", "baseUri": "https://replace-me.my.salesforce.com"})
    token = str(uuid.uuid4())
    secrets = emulator.client("secretsmanager")
    current = secrets.get_secret_value(SecretId="sftoken/fresh")["SecretString"]
    secrets.put_secret_value(SecretId="sftoken/fresh", SecretString=current, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    assert step(emulator, stack, "sftoken/fresh", "testSecret", token) == ""


# Events: put-secret-value is all that a person does here.

def log_lines(emulator, stack, **fields):
    """The rotate function's own lines that have these fields."""
    return [line for line in stack.log("RotateLogs") if fields.items() <= line.items()]


def reaction(emulator, stack, version, label):
    """The line that the rotate function has written about a label that moved to the version."""
    return wait_for(lambda: log_lines(emulator, stack, msg="label", label=label, secret_version=version), 60, f"{label} on {version}")[0]


def test_a_good_pair_stays(stack, emulator, org, new_app, put_secret):
    app = new_app()
    version = put_secret(app.name, org.regenerate(app.name))
    assert reaction(emulator, stack, version, "AWSCURRENT")["outcome"] == "ok"
    assert labels(emulator, app.name)["AWSCURRENT"] == version


def test_a_bad_pair_is_rolled_back(stack, emulator, org, new_app, put_secret, anybody):
    app = new_app()
    good = labels(emulator, app.name)["AWSCURRENT"]
    bad = put_secret(app.name, app.value(org.url) | {"consumerSecret": "mistyped"})
    line = reaction(emulator, stack, bad, "AWSCURRENT")
    assert line["RolledBack"] == 1 and "mistyped" not in json.dumps(line)
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == good and held["REJECTED"] == bad
    # The roll-back raises the same event, and there it rests.
    assert reaction(emulator, stack, good, "AWSCURRENT")["did"] == "logged in with the current pair"
    assert stack.call(anybody, app.name).status == 200


def test_a_good_candidate_becomes_current(stack, emulator, org, new_app, put_secret):
    app = new_app()
    version = put_secret(app.name, org.regenerate(app.name), labels=["CANDIDATE"])
    assert reaction(emulator, stack, version, "CANDIDATE")["Rotations"] == 1
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == version and "CANDIDATE" not in held
    assert reaction(emulator, stack, version, "AWSCURRENT")["outcome"] == "ok"


def test_a_bad_candidate_is_rejected(stack, emulator, org, new_app, put_secret):
    app = new_app()
    before = labels(emulator, app.name)["AWSCURRENT"]
    version = put_secret(app.name, app.value(org.url) | {"consumerSecret": "mistyped"}, labels=["CANDIDATE"])
    assert reaction(emulator, stack, version, "CANDIDATE")["CandidatesRefused"] == 1
    held = labels(emulator, app.name)
    assert held["AWSCURRENT"] == before and held["REJECTED"] == version and "CANDIDATE" not in held


def test_a_leaked_pair_dies(stack, emulator, org, new_app):
    """COMPROMISED on the current version, then a rotation: the old pair is deleted at Salesforce, not left for 30 days."""
    app = new_app(rotates=True)
    leaked = labels(emulator, app.name)["AWSCURRENT"]
    emulator.client("secretsmanager").update_secret_version_stage(
        SecretId="sftoken/" + app.name, VersionStage="COMPROMISED", MoveToVersionId=leaked)
    reaction(emulator, stack, leaked, "COMPROMISED")
    rotate(emulator, stack, "sftoken/" + app.name)
    assert not org.logs_in(app)
    assert org.logs_in(org.pair(app.name))


def test_another_secret_is_none_of_its_business(stack, emulator, org, new_app, put_secret):
    """The rule passes on what lies under the prefix alone. The event after it is the sign that it would have arrived."""
    secrets = emulator.client("secretsmanager")
    name = "unrelated-" + uuid.uuid4().hex
    foreign = secrets.create_secret(Name=name, SecretString="{}")["VersionId"]
    secrets.put_secret_value(SecretId=name, SecretString="{}", ClientRequestToken=str(uuid.uuid4()))
    app = new_app()
    version = put_secret(app.name, app)
    reaction(emulator, stack, version, "AWSCURRENT")
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
    org.fail("token", "503 with a web page")
    try:
        emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], InvocationType="Event", Payload=json.dumps(event))
        message = wait_for(lambda: dead_letter(emulator, stack, version), 120, "the dead letter")
    finally:
        org.heal()
    assert message["requestPayload"] == event
    assert len(log_lines(emulator, stack, msg="label", secret_version=version, outcome="failed")) == 3
    assert labels(emulator, app.name) == {"AWSCURRENT": version}


def dead_letter(emulator, stack, version):
    """Takes a message about the version out of the dead-letter queue."""
    sqs = emulator.client("sqs")
    got = sqs.receive_message(QueueUrl=stack.resources["DeadLetters"], WaitTimeSeconds=1, MaxNumberOfMessages=10).get("Messages", [])
    for message in got:
        if version in message["Body"]:
            sqs.delete_message(QueueUrl=stack.resources["DeadLetters"], ReceiptHandle=message["ReceiptHandle"])
            return json.loads(message["Body"])
    return None
