"""Rotations and what the rotate function writes about them, for the tests that need one."""

import json
import uuid

from aws import hiding, wait_for

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def restart(emulator, stack, function="RotateFunction", **variables):
    """Has a function begin its next invocation in a new process, with these settings in addition to its own."""
    functions, name = emulator.client("lambda"), stack.resources[function]
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": before | variables})


def labels(emulator, app):
    """Version IDs by label."""
    stages = emulator.client("secretsmanager").describe_secret(SecretId="sftoken/" + app)["VersionIdsToStages"]
    return {label: version for version, held in stages.items() for label in held}


def value(emulator, app, label="AWSCURRENT"):
    """What the app's secret holds under the label."""
    got = emulator.client("secretsmanager").get_secret_value(SecretId="sftoken/" + app, VersionStage=label)
    return json.loads(got["SecretString"], object_hook=hiding)


def step(emulator, stack, secret, name, token):
    """One step, as Secrets Manager asks for it; returns the error, empty for none. It names the secret by its ARN."""
    arn = emulator.client("secretsmanager").describe_secret(SecretId=secret)["ARN"]
    event = {"Step": name, "SecretId": arn, "ClientRequestToken": token, "RotationToken": str(uuid.uuid4())}
    response = emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], Payload=json.dumps(event))
    text = response["Payload"].read().decode()
    return text if "FunctionError" in response else ""


def begin(emulator, secret):
    """What Secrets Manager does before the first step: it puts AWSPENDING, without a value, on a version that the token names. The
    emulator's own RotateSecret invokes no function."""
    token = str(uuid.uuid4())
    emulator.client("secretsmanager").put_secret_value(SecretId=secret, ClientRequestToken=token, VersionStages=["AWSPENDING"])
    return token


def rotate(emulator, stack, secret):
    """A whole rotation, driven by hand; returns the new version's id."""
    token = begin(emulator, secret)
    for name in STEPS:
        assert (failed := step(emulator, stack, secret, name, token)) == "", failed
    return token


def log_lines(stack, **fields):
    """The rotate function's own lines that have these fields."""
    return [line for line in stack.log("RotateLogs") if fields.items() <= line.items()]


def reaction(stack, version, label):
    """The line that the rotate function has written about a label that moved to the version."""
    return wait_for(lambda: log_lines(stack, msg="label", label=label, secret_version=version), 60, f"{label} on {version}")[0]


def dead_letter(emulator, stack, version):
    """Takes a message about the version out of the dead-letter queue."""
    sqs = emulator.client("sqs")
    got = sqs.receive_message(QueueUrl=stack.resources["DeadLetters"], WaitTimeSeconds=1, MaxNumberOfMessages=10).get("Messages", [])
    for message in got:
        if version in message["Body"]:
            sqs.delete_message(QueueUrl=stack.resources["DeadLetters"], ReceiptHandle=message["ReceiptHandle"])
            return json.loads(message["Body"])
    return None
