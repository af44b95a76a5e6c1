"""The functions' roles and the key, with their policies enforced by the emulator: what a session of a role may do, and what stops
working when a part of its policy is taken away."""

import copy
import json
import uuid

import botocore.exceptions
import pytest

import aws
from deployment import EVERYTHING
from policies import CHECKED, DESCRIBE, ITEMS, LIST, READ, TAG, WRITE, without
from rotations import restart, rotate


APP = EVERYTHING["AppName"]


@pytest.fixture(scope="module")
def things(emulator, stack, new_app):
    """What a session may or may not touch."""
    secrets, kms, sqs = (emulator.client(name) for name in ("secretsmanager", "kms", "sqs"))
    new_app("probe")
    ours = secrets.describe_secret(SecretId="sftoken/probe")["ARN"]
    secrets.create_secret(Name="other/probe", SecretString="{}")
    sqs.create_queue(QueueName="other")
    url = sqs.get_queue_url(QueueName=stack.resources["DeadLetters"].rsplit("/", 1)[-1])["QueueUrl"]
    return {
        "secret": ours, "other secret": secrets.describe_secret(SecretId="other/probe")["ARN"], "version": put_version(secrets, ours),
        "queue": url, "other queue": sqs.get_queue_url(QueueName="other")["QueueUrl"],
        "key": stack.outputs["KeyArn"], "ciphertext": kms.encrypt(KeyId=stack.outputs["KeyArn"], Plaintext=b"text")["CiphertextBlob"],
    }


def put_version(secrets, arn):
    return secrets.put_secret_value(SecretId=arn, SecretString="{}", VersionStages=["PROBE"], ClientRequestToken=str(uuid.uuid4()))["VersionId"]


def attempts(client, things, secret="secret", queue="queue"):
    """How a session would do each action. Logs are not here: the emulator asks IAM for a log group's ARN without the :* that AWS
    asks for."""
    secrets, id = client("secretsmanager"), {"SecretId": things[secret]}
    return {
        "secretsmanager:GetSecretValue": lambda: secrets.get_secret_value(**id),
        "secretsmanager:DescribeSecret": lambda: secrets.describe_secret(**id),
        "secretsmanager:PutSecretValue": lambda: put_version(secrets, things[secret]),
        "secretsmanager:UpdateSecretVersionStage": lambda: secrets.update_secret_version_stage(
            **id, VersionStage="L" + uuid.uuid4().hex, MoveToVersionId=things["version"]),
        "secretsmanager:ListSecrets": lambda: secrets.list_secrets(),
        "secretsmanager:DeleteSecret": lambda: secrets.delete_secret(**id),
        "secretsmanager:UpdateSecret": lambda: secrets.update_secret(**id, Description="x"),
        "secretsmanager:CreateSecret": lambda: secrets.create_secret(Name="sftoken/" + uuid.uuid4().hex, SecretString="{}"),
        "secretsmanager:RotateSecret": lambda: secrets.rotate_secret(**id),
        "secretsmanager:PutResourcePolicy": lambda: secrets.put_resource_policy(**id, ResourcePolicy="{}"),
        "secretsmanager:TagResource": lambda: secrets.tag_resource(**id, Tags=[{"Key": CHECKED, "Value": "probe"}]),
        "secretsmanager:UntagResource": lambda: secrets.untag_resource(**id, TagKeys=[CHECKED]),
        "sqs:SendMessage": lambda: client("sqs").send_message(QueueUrl=things[queue], MessageBody="probe"),
        "kms:Decrypt": lambda: client("kms").decrypt(CiphertextBlob=things["ciphertext"], KeyId=things["key"]),
        "kms:GenerateDataKey": lambda: client("kms").generate_data_key(KeyId=things["key"], KeySpec="AES_256"),
    }


def permitted(attempt):
    """Whether the emulator lets the attempt through; that it then fails for another reason is none of IAM's business."""
    try:
        attempt()
    except botocore.exceptions.ClientError as failed:
        return "AccessDenied" not in failed.response["Error"]["Code"]
    return True


# Lambda's alone to assume on AWS; the emulator lets the root of the account do it too.
@pytest.fixture(scope="module")
def as_role(emulator, stack, principals):
    def client_of(role):
        session = principals.assume(f"arn:aws:iam::{aws.OWNER}:role/{stack.resources[role]}")
        return lambda service: emulator.client(service, session)

    return client_of


ROLES = {
    "TokenRole": {"policy": "token", "may": {*READ}},
    "RotateRole": {"policy": "rotate", "may": {*READ, *DESCRIBE, *WRITE, *TAG, *LIST, "sqs:SendMessage"}},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_its_work_and_nothing_else(role, as_role, things):
    assert {action for action, attempt in attempts(as_role(role), things).items() if permitted(attempt)} == ROLES[role]["may"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_elsewhere(role, as_role, things):
    """With another secret, another queue."""
    elsewhere = attempts(as_role(role), things, secret="other secret", queue="other queue")
    assert {action for action, attempt in elsewhere.items() if permitted(attempt)} == {*LIST} & ROLES[role]["may"]


@pytest.fixture
def forbid(stack, role_policy):
    """Takes an action away from a role."""
    def forbid(role, action):
        policy = role_policy(stack, role, ROLES[role]["policy"])
        policy.put(without(policy.document, action))

    return forbid


# Keys are not here: the emulator's Secrets Manager keeps secrets without a key.
@pytest.mark.parametrize("role, action", [(role, action) for role, r in ROLES.items() for action in sorted(r["may"])])
def test_each_action_is_needed(role, action, as_role, forbid, things):
    """Without it the emulator refuses what it did before."""
    attempt = attempts(as_role(role), things)[action]
    assert permitted(attempt)
    forbid(role, action)
    assert not permitted(attempt)


def test_another_tag_is_refused_by_its_condition(as_role, role_policy, stack, things):
    secrets = as_role("RotateRole")("secretsmanager")

    def tag(*keys):
        return permitted(lambda: secrets.tag_resource(SecretId=things["secret"], Tags=[{"Key": key, "Value": ""} for key in keys]))

    assert tag(CHECKED) and not tag("team") and not tag(CHECKED, "team") and not tag()
    policy = role_policy(stack, "RotateRole", "rotate")
    document = copy.deepcopy(policy.document)
    next(s for s in document["Statement"] if s["Action"] == TAG[0]).pop("Condition")
    policy.put(document)
    assert tag("team") and tag(CHECKED, "team")


def test_direct_use_of_the_key_is_refused_by_its_condition(as_role, role_policy, stack, things):
    """Decrypting by itself is refused to the roles; not without the condition, which is therefore what refuses it."""
    for role, actions in {"TokenRole": ["kms:Decrypt"], "RotateRole": ["kms:Decrypt", "kms:GenerateDataKey"]}.items():
        policy = role_policy(stack, role, ROLES[role]["policy"])
        document = copy.deepcopy(policy.document)
        for statement in document["Statement"]:
            if "kms:Decrypt" in statement["Action"]:
                assert statement.pop("Condition") == {"StringLike": {"kms:ViaService": "secretsmanager.us-east-1.amazonaws.com*"}}
        policy.put(document)
        assert all(permitted(attempts(as_role(role), things)[action]) for action in actions)


def test_the_key_policy_leaves_it_to_identity_policies(emulator, stack, principals):
    kms, key = emulator.client("kms"), stack.outputs["KeyArn"]
    reader = emulator.client("kms", principals.user({"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": key}))
    assert permitted(lambda: reader.describe_key(KeyId=key))
    original = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    changed = json.loads(original)
    changed["Statement"] = [s for s in changed["Statement"] if s["Sid"] != "TheAccountDecides"]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(changed))
    try:
        assert not permitted(lambda: reader.describe_key(KeyId=key))
    finally:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=original)


# The token table, which the full stack has.

@pytest.fixture(scope="module")
def tables(emulator, full):
    """The stack's table, and one that a session may not touch."""
    dynamodb = emulator.client("dynamodb")
    dynamodb.create_table(TableName="other", KeySchema=[{"AttributeName": "app", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST",
                          AttributeDefinitions=[{"AttributeName": "app", "AttributeType": "S"}])
    return {"table": full.outputs["TokenTable"], "other table": "other"}


def attempts_at(dynamodb, table):
    where, item = {"TableName": table}, {"app": {"S": "probe"}}
    return {
        "dynamodb:GetItem": lambda: dynamodb.get_item(**where, Key=item),
        "dynamodb:UpdateItem": lambda: dynamodb.update_item(**where, Key=item),
        "dynamodb:PutItem": lambda: dynamodb.put_item(**where, Item=item),
        "dynamodb:DeleteItem": lambda: dynamodb.delete_item(**where, Key=item),
        "dynamodb:Query": lambda: dynamodb.query(
            **where, KeyConditionExpression="app = :app", ExpressionAttributeValues={":app": item["app"]}),
        "dynamodb:Scan": lambda: dynamodb.scan(**where),
        "dynamodb:DescribeTable": lambda: dynamodb.describe_table(**where),
        "dynamodb:UpdateTimeToLive": lambda: dynamodb.update_time_to_live(
            **where, TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires"}),
        "dynamodb:DeleteTable": lambda: dynamodb.delete_table(**where),
    }


@pytest.mark.parametrize("of, role, table, may", [
    ("full", "TokenRole", "table", {*ITEMS}), ("full", "TokenRole", "other table", set()), ("full", "RotateRole", "table", set()),
    ("stack", "TokenRole", "table", set()),  # which has no SharedTokens
])
def test_who_may_use_the_table(of, role, table, may, request, principals, emulator, tables):
    session = principals.assume(f"arn:aws:iam::{aws.OWNER}:role/{request.getfixturevalue(of).resources[role]}")
    tried = attempts_at(emulator.client("dynamodb", session), tables[table])
    assert {action for action, attempt in tried.items() if permitted(attempt)} == may


def test_direct_use_of_the_tables_key_is_refused_by_its_condition(emulator, full, principals, role_policy):
    kms = emulator.client("kms", principals.assume(f"arn:aws:iam::{aws.OWNER}:role/{full.resources['TokenRole']}"))
    key = full.outputs["KeyArn"]
    ciphertext = emulator.client("kms").encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
    assert not permitted(lambda: kms.decrypt(CiphertextBlob=ciphertext, KeyId=key))
    policy = role_policy(full, "TokenRole", "token-table")
    document = copy.deepcopy(policy.document)
    decrypt, = (s for s in document["Statement"] if s["Action"] == "kms:Decrypt")
    assert decrypt.pop("Condition") == {"StringLike": {"kms:ViaService": "dynamodb.us-east-1.amazonaws.com*"}}
    policy.put(document)
    assert permitted(lambda: kms.decrypt(CiphertextBlob=ciphertext, KeyId=key))


# The probe, which the full stack has.

@pytest.fixture(scope="module")
def probe_session(full, principals):
    return principals.assume(f"arn:aws:iam::{aws.OWNER}:role/{full.resources['ProbeRole']}")


def test_the_probe_is_a_caller_of_one_app(full, erp, probe_session):
    """It gets that app's token, which it cannot revoke, and no other app's."""
    statuses = {(app, method): full.call(probe_session, app, method).status
                for app in (APP, "admin", "probe-denied") for method in ("GET", "POST", "DELETE")}
    assert {call for call, status in statuses.items() if status != 403} == {(APP, "GET")}
    assert statuses[APP, "GET"] == 200


def test_the_probe_may_do_nothing_else(emulator, full, probe_session, things, tables):
    client = lambda service: emulator.client(service, probe_session)
    tried = attempts(client, things) | attempts_at(client("dynamodb"), tables["table"])
    tried["lambda:InvokeFunction"] = lambda: client("lambda").invoke(FunctionName=full.resources["RotateFunction"], Payload=b"{}")
    assert not {action for action, attempt in tried.items() if permitted(attempt)}


# The same through the functions, whose sessions the emulator checks in the same way.

def test_without_reading_there_is_no_token(stack, admin, forbid, new_app):
    before, after = new_app(), new_app()
    assert stack.call(admin, before.name).status == 200
    forbid("TokenRole", READ[0])
    response = stack.call(admin, after.name)
    assert (response.status, response.json()["error"]) == (404, "unknown_app")
    # What is known keeps working.
    assert stack.call(admin, before.name).status == 200


@pytest.mark.parametrize("action", [*READ, *DESCRIBE, *WRITE])
def test_without_an_action_there_is_no_rotation(action, stack, emulator, forbid, new_app):
    forbid("RotateRole", action)
    with pytest.raises(AssertionError, match="AccessDenied"):
        rotate(emulator, stack, "sftoken/" + new_app(rotates=True).name)


def test_without_listing_there_is_no_daily_check(stack, emulator, forbid):
    event = {"detail-type": "Scheduled Event", "source": "aws.events"}
    invoke = lambda: emulator.client("lambda").invoke(FunctionName=stack.resources["RotateFunction"], Payload=json.dumps(event))
    assert "FunctionError" not in invoke()
    forbid("RotateRole", LIST[0])
    assert b"AccessDenied" in invoke()["Payload"].read()


def test_without_its_permission_the_probe_gets_no_token(emulator, full, erp, role_policy):
    def outcomes():
        restart(emulator, full, "ProbeFunction", API_URL=full.api_url)
        response = emulator.client("lambda").invoke(FunctionName=full.resources["ProbeFunction"], Payload=b"{}")
        return [(c["outcome"], c["observed"]) for c in json.loads(response["Payload"].read())["checks"]]

    assert [outcome for outcome, _ in outcomes()] == ["ok"] * 3
    policy = role_policy(full, "ProbeRole", "probe")
    policy.put(without(policy.document, "execute-api:Invoke"))
    assert outcomes()[0] == ("failed", "HTTP 403: IAM refuses it")
