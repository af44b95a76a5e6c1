"""SharedTokens: what several processes of the deployed token function share through the table, and what they do without it. The
emulator makes the table without encryption and without time to live, so nothing here needs the permission for its key: for these see
test_template.py and test_policies.py."""

import itertools
import uuid

import pytest

from deployment import EVERYTHING
from policies import ITEMS, without

PREFIX = EVERYTHING["SecretPrefix"]


def new_process(emulator, stack):
    """Has the token function begin its next invocation in a new process: of a new version, to which the API's alias moves."""
    functions, name = emulator.client("lambda"), stack.resources["TokenFunction"]
    functions.update_function_configuration(FunctionName=name, Description=uuid.uuid4().hex)
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=functions.publish_version(FunctionName=name)["Version"])


@pytest.fixture
def new_process_gets(emulator, full, admin):
    """Requests a token from a new process; returns the response and the process's audit line. It has prefetched nothing of the app."""
    def get(app):
        new_process(emulator, full)
        return get_from(full, admin, app)

    return get


def get_from(stack, admin, app):
    """Requests a token; returns the response and the audit line."""
    response = stack.call(admin, app)
    assert response.status == 200
    return response, [line for line in stack.log("TokenLogs") if line["msg"] == "vend" and line["app"] == app][-1]


@pytest.fixture
def shared_app(org, put_secret, full):
    numbers = itertools.count(1)

    def new():
        app = org.add_app(f"shared{next(numbers)}-{uuid.uuid4().hex[:8]}")
        put_secret(app.name, app, prefix=PREFIX)
        return app.name

    return new


def test_one_login_for_every_process(shared_app, new_process_gets, org):
    app = shared_app()
    responses, lines = zip(*(new_process_gets(app) for _ in range(4)))
    assert len({response.json()["access_token"] for response in responses}) == 1 and org.accepts(responses[0].json()["access_token"])
    assert [response.headers["X-Token-Cache"] for response in responses] == ["miss", "hit", "hit", "hit"]
    assert sum(line.get("Logins", 0) for line in lines) == 1
    assert [line.get("shared") for line in lines] == [None, True, True, True]
    assert [line.get("SharedHits") for line in lines] == [None, 1, 1, 1]
    assert all(line["table_ms"] > 0 and "SharedErrors" not in line for line in lines)


def test_a_token_in_memory_reads_no_table(shared_app, new_process_gets, full, admin):
    app = shared_app()
    assert new_process_gets(app)[1]["table_ms"] > 0
    response, line = get_from(full, admin, app)
    assert response.headers["X-Token-Cache"] == "hit" and not {"table_ms", "shared", "SharedHits"} & set(line)


def test_revoked_for_every_process(shared_app, new_process_gets, emulator, full, admin, org):
    """A process that never had the token revokes it, and the next one logs in."""
    app = shared_app()
    token = new_process_gets(app)[0].json()["access_token"]
    new_process(emulator, full)
    assert full.call(admin, app, "DELETE").status == 204 and not org.accepts(token)
    response, line = new_process_gets(app)
    assert response.headers["X-Token-Cache"] == "miss" and line["Logins"] == 1
    assert org.accepts(response.json()["access_token"])


@pytest.mark.parametrize("action", ITEMS)
def test_without_an_action_nothing_is_shared(action, shared_app, new_process_gets, role_policy, full):
    """Each request gets its token all the same, from its own process."""
    app = shared_app()
    token = new_process_gets(app)[0].json()["access_token"]
    policy = role_policy(full, "TokenRole", "token-table")
    policy.put(without(policy.document, action))
    before = len(full.log("TokenLogs"))
    response, line = new_process_gets(app if action == "dynamodb:GetItem" else shared_app())
    assert response.headers["X-Token-Cache"] == "miss" and response.json()["access_token"] != token and "shared" not in line
    # Then the process bypasses the table. It may be the prefetch that fails.
    failed, = (line for line in full.log("TokenLogs")[before:] if "SharedErrors" in line)
    assert failed["SharedErrors"] == 1 and f"not authorized to perform: {action}" in failed["upstream_error"]


def test_off_each_process_logs_in(stack, new_app, emulator, admin):
    app, caches = new_app().name, []
    for _ in range(2):
        new_process(emulator, stack)
        response, line = get_from(stack, admin, app)
        caches.append(response.headers["X-Token-Cache"])
        assert line["Logins"] == 1 and not {"table_ms", "shared", "SharedErrors"} & set(line)
    assert caches == ["miss", "miss"] and "TokenTable" not in stack.resources


def test_the_table(full, emulator, shared_app, new_process_gets, org):
    """On demand, and with no secret in it for its readers."""
    app = shared_app()
    new_process_gets(app)
    dynamodb, name = emulator.client("dynamodb"), full.outputs["TokenTable"]
    assert dynamodb.describe_table(TableName=name)["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    item = dynamodb.get_item(TableName=name, Key={"app": {"S": app}})["Item"]
    assert len(item["sealed"]["B"]) > 100 and not any(secret in str(item) for secret in org.do("secrets"))


def test_a_deleted_item_costs_a_login(shared_app, new_process_gets, emulator, full, org):
    """As docs/how-to/runbook.md says."""
    app = shared_app()
    token = new_process_gets(app)[0].json()["access_token"]
    assert "Logins" not in new_process_gets(app)[1]
    emulator.client("dynamodb").delete_item(TableName=full.outputs["TokenTable"], Key={"app": {"S": app}})
    response, line = new_process_gets(app)
    assert line["Logins"] == 1 and "SharedErrors" not in line
    assert org.accepts(token) and org.accepts(response.json()["access_token"])


def test_switching_on_and_off(sam, template, emulator):
    """The table comes and goes with the parameter."""
    def tables(stack):
        name = stack.resources["TokenFunction"]
        variables = emulator.client("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        assert variables["TOKEN_TABLE"] == stack.outputs.get("TokenTable", "")
        return [t for t in emulator.client("dynamodb").list_tables()["TableNames"] if t.startswith("switched")]

    def deploy(position):
        return sam.deploy(template, "switched", AppName="off", SecretPrefix="switched/", SharedTokens=position)

    assert tables(deploy("off")) == []
    on = deploy("on")
    assert tables(on) == [on.outputs["TokenTable"]]
    assert tables(deploy("off")) == []
