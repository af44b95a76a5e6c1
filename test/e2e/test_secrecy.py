"""No secret in anything that the deployed functions have written so far, which is what the tests before this file made them do, and
nothing improper in what they sent to Salesforce."""

from rotations import rotate


def test_no_secret_in_a_log(stack, full, erp, org, new_app, admin, emulator):
    app = new_app(rotates=True)
    tokens = [stack.call(admin, app.name).json()["access_token"]]
    rotate(emulator, stack, "sftoken/" + app.name)
    logs, written = emulator.client("logs"), []
    for deployed in stack, full:
        for group in {"TokenLogs", "RotateLogs", "ProbeLogs"} & set(deployed.resources):
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=deployed.resources[group]):
                written += [event["message"] for event in page["events"]]
    secrets = org.do("secrets")
    assert set(tokens) <= set(secrets) and any("vend" in text for text in written) and any("rotation" in text for text in written)
    found = {message.partition('"msg"')[2][:20] for message in written for secret in secrets if secret in message}
    assert not found, "the lines that begin so hold a secret"


def test_nothing_improper_was_sent_to_salesforce(org, stack):
    stats = org.do("stats")
    assert stats["Calls"]["token"] > 0 and not stats["Violations"]
