"""Which callers get a token. The emulator checks signatures and policies here, as API Gateway does on AWS."""

import json

import pytest

import aws
from deployment import PRIVATE, TEMPLATE, invoke
from transform import transform

OWN_ACCOUNT = {"StringNotEquals": {"aws:PrincipalAccount": aws.OWNER}}


@pytest.fixture(scope="module")
def erp(new_app):
    return new_app("erp")


@pytest.fixture(scope="module")
def crm_role(principals, stack, crm):
    """A role of the owner's account with the policy that the stack has for it, which another account may assume."""
    return principals.role(managed=[stack.outputs["CallerPolicyArn"]], trusts=aws.CALLER)


@pytest.fixture(scope="module")
def crm_caller(principals, crm_role):
    """A principal of another account, through that role."""
    user = principals.user({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": crm_role}, account=aws.CALLER)
    return principals.assume(crm_role, by=user)


def test_a_token_works(stack, crm_caller, org):
    response = stack.call(crm_caller)
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json" and response.headers["Cache-Control"] == "no-store"
    body = response.json()
    assert org.accepts(body["access_token"]) and body["instance_url"] == org.url and body["token_type"] == "Bearer"
    assert body["expires_in"] >= 300


def test_unsigned(stack, crm):
    assert stack.call(None).status == 403


@pytest.mark.parametrize("how", [{"spoil": True}, {"age": 900}, {"age": -900}], ids=["another signature", "expired", "from the future"])
def test_wrongly_signed(stack, crm, admin, how):
    assert stack.call(admin, **how).status == 403
    assert stack.call(admin).status == 200


def test_signed_with_another_secret(stack, crm, admin):
    stolen = aws.Credentials(admin.access_key, "0" * 40)
    assert stack.call(stolen).status == 403


def test_signed_for_another_body(stack, crm, admin):
    """What is signed is what arrives: a body that was put in on the way is refused."""
    assert stack.call(admin, method="POST", tampered=b"grant_type=client_credentials").status == 403
    assert stack.call(admin, method="POST", body=b"grant_type=client_credentials",
                      headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 200


def test_no_permission(stack, crm, principals):
    assert stack.call(principals.user()).status == 403


def test_permission_of_another_api(stack, crm, principals):
    statement = invoke(stack, "GET/tokens/crm")
    statement["Resource"] = [resource.replace(stack.outputs["ApiId"], "0therapi00") for resource in statement["Resource"]]
    assert stack.call(principals.user(statement)).status == 403


# What each statement of the caller policy allows: a principal of another account gets tokens of crm and nothing else.
@pytest.mark.parametrize("method, app, status", [
    ("GET", "crm", 200), ("POST", "crm", 200), ("DELETE", "crm", 403),
    ("GET", "erp", 403), ("POST", "erp", 403), ("DELETE", "erp", 403), ("GET", "crm2", 403), ("PUT", "crm", 403),
])
def test_a_role_for_crm(stack, crm_caller, erp, method, app, status):
    assert stack.call(crm_caller, app, method).status == status


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_role_for_crm_without(stack, principals, crm, method):
    """The caller policy without one of its two resources."""
    statement = json.loads(stack.outputs["CrossAccountStatement"])
    statement["Resource"] = [resource for resource in statement["Resource"] if f"/{method}/" not in resource]
    session = principals.session(statement)
    assert {m: stack.call(session, method=m).status for m in ("GET", "POST")} == {m: 403 if m == method else 200 for m in ("GET", "POST")}


def test_only_those_whom_the_role_trusts(stack, principals, crm_role, emulator):
    """Another account's principal without sts:AssumeRole, and one of a third account with it."""
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": crm_role}
    for user in principals.user(account=aws.CALLER), principals.user(statement, account="333333333333"):
        with pytest.raises(emulator.client("sts").exceptions.ClientError, match="AccessDenied"):
            principals.assume(crm_role, by=user)


def test_revoking_is_a_permission_of_its_own(stack, principals, erp, org):
    emergency = principals.user(invoke(stack, "DELETE/tokens/erp"))
    token = stack.call(principals.user(invoke(stack, "GET/tokens/erp")), "erp").json()["access_token"]
    assert stack.call(emergency, "erp").status == 403
    assert org.accepts(token)
    assert stack.call(emergency, "erp", "DELETE").status == 204
    assert not org.accepts(token)


def test_the_function_sees_who_called(stack, crm, principals, put_secret, org):
    """The identity in the event is the caller's: the secret's own list of principals is checked against it."""
    allowed, other = (principals.role(invoke(stack, "GET/tokens/crm-listed")) for _ in range(2))
    app = org.add_app("crm-listed")
    put_secret("crm-listed", app.value(org.url, allowedPrincipals=[allowed]))
    assert stack.call(principals.assume(allowed), "crm-listed").status == 200
    response = stack.call(principals.assume(other), "crm-listed")
    assert response.status == 403 and response.json()["error"] == "access_denied"


# The emulator does not read the policy that SAM writes into the API's definition: it is set here as SAM writes it. That a foreign
# principal needs it as well cannot be tried, since the emulator shows an API to its own account alone.
@pytest.fixture
def resource_policy(stack, emulator):
    gateway, api = emulator.client("apigateway"), stack.outputs["ApiId"]

    def set(policy):
        gateway.update_rest_api(restApiId=api, patchOperations=[{"op": "replace", "path": "/policy", "value": policy and json.dumps(policy)}])

    yield set
    set("")


@pytest.fixture(scope="module")
def organization(emulator):
    """An organization that the owner's account belongs to."""
    return emulator.client("organizations").describe_organization()["Organization"]["Id"]


@pytest.mark.parametrize("parameters, statuses", [
    ({}, {"GET": 200, "POST": 200, "DELETE": 403}),
    ({"ForeignRevoke": "off"}, {"GET": 200, "POST": 200, "DELETE": 403}),
    ({"ForeignRevoke": "on"}, {"GET": 200, "POST": 200, "DELETE": 204}),
], ids=["by default", "off", "on"])
def test_revoking_from_another_account_is_opt_in(parameters, statuses, stack, crm, principals, resource_policy, organization):
    """The methods that the resource policy allows, tried with requests. Its condition is removed, because it denies every principal
    that the emulator can have here: the one that calls has no identity policy, and so only what the resource policy gives."""
    policy = body_policy(OrganizationId=organization, **parameters)
    for statement in policy["Statement"]:
        assert statement["Condition"].pop("StringNotEquals") == OWN_ACCOUNT["StringNotEquals"]
    resource_policy(policy)
    caller = principals.user()
    assert {method: stack.call(caller, method=method).status for method in statuses} == statuses


def body_policy(**parameters):
    return transform(TEMPLATE, **parameters)["Api"]["Properties"]["Body"]["x-amazon-apigateway-policy"]


@pytest.mark.parametrize("parameters", [{}, {"AllowedAccounts": aws.CALLER}])
def test_a_private_api_refuses_what_comes_through_no_endpoint(parameters, stack, crm, admin, resource_policy):
    """As every request to the emulator, which gives it no aws:SourceVpce: the Deny is for a missing key too. What it lets through is in
    test_policies.py."""
    policy = body_policy(**PRIVATE, **parameters)
    resource_policy(policy)
    assert stack.call(admin).status == 403
    policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] != "Deny"]
    resource_policy(policy)
    assert stack.call(admin).status == 200


def test_the_owners_account_needs_an_identity_policy(stack, crm, principals, resource_policy, organization):
    unprivileged, allowed = principals.user(), principals.user(invoke(stack, "GET/tokens/crm"))
    for parameters in {}, {"AllowedAccounts": aws.CALLER}, {"AllowedAccounts": aws.OWNER}, {"OrganizationId": organization}:
        policy = body_policy(**parameters)
        resource_policy(policy)
        assert (stack.call(unprivileged).status, stack.call(allowed).status) == (403, 200), parameters
        # The condition is what keeps them out.
        for statement in policy["Statement"]:
            assert statement["Condition"].pop("StringNotEquals") == OWN_ACCOUNT["StringNotEquals"]
        resource_policy(policy)
        if "OrganizationId" in parameters:
            assert stack.call(unprivileged).status == 200
