"""Who gets a token. Signatures and policies are the emulator's to check, as they are API Gateway's."""


def invoke(stack, *paths):
    """A statement that allows these methods and paths of the API."""
    api = f"arn:aws:execute-api:us-east-1:111111111111:{stack.outputs['ApiId']}/v1/"
    return {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": [api + path for path in paths]}


def test_vend(stack, principals, org, crm):
    answer = stack.call(principals.session(invoke(stack, "GET/tokens/crm")))
    assert answer.status == 200
    assert org.accepts(answer.json()["access_token"])
