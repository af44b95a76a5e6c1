"""What should raise an alarm raises it: the deployed functions' own log lines, read as CloudWatch reads the embedded metric format,
against the alarms as they are deployed. In the full stack, whose apps are its own."""

import json
import re
import uuid

import pytest

import deployment
from deployment import EVERYTHING, TEMPLATE
from transform import of_type, transform

APP, PREFIX = EVERYTHING["AppName"], EVERYTHING["SecretPrefix"]


@pytest.fixture(scope="module")
def expanded():
    """The alarms as SAM expands them."""
    return of_type(transform(TEMPLATE, **EVERYTHING), "AWS::CloudWatch::Alarm")


@pytest.fixture(scope="module")
def alarms(emulator, full, expanded):
    """The deployed alarms by logical id; the one for an overdue rotation, which comes with the schedule, as SAM expands it."""
    logical = {physical: name for name, physical in full.resources.items()}
    found = {logical[a["AlarmName"]]: a for page in emulator.client("cloudwatch").get_paginator("describe_alarms").paginate()
             for a in page["MetricAlarms"] if a["AlarmName"] in logical}
    return found | {"RotationOverdue": expanded["RotationOverdue"] | {"AlarmActions": [full.outputs["AlarmTopicArn"]]}}


def invoke(emulator, full, event):
    return emulator.client("lambda").invoke(FunctionName=full.resources["RotateFunction"], Payload=json.dumps(event))


def check(emulator, full):
    assert "FunctionError" not in invoke(emulator, full, {"source": "aws.events", "detail-type": "Scheduled Event"})


def metrics(lines):
    """The values in the lines by metric: namespace, name and dimensions, which are what a metric is to CloudWatch. Source: CloudWatch
    User Guide, "Specification: Embedded metric format"."""
    values = {}
    for line in lines:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive["Dimensions"]:
                assert all(isinstance(line[name], str) and line[name] for name in names)
                for metric in directive["Metrics"]:
                    key = directive["Namespace"], metric["Name"], frozenset((name, line[name]) for name in names)
                    values.setdefault(key, []).append(line[metric["Name"]])
    return values


def raised(alarm, values):
    """Whether the alarm goes off when these are the values of one period. It watches one metric: no other dimensions."""
    watched = values.get((alarm["Namespace"], alarm["MetricName"], frozenset((d["Name"], d["Value"]) for d in alarm["Dimensions"])))
    if not watched:
        assert alarm["TreatMissingData"] != "breaching"
        return False
    statistic = {"Sum": sum, "Minimum": min}[alarm["Statistic"]](watched)
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold" and alarm["EvaluationPeriods"] == 1
    return statistic >= float(alarm["Threshold"])


class Lines:
    """The log lines that a block of code has made the functions write."""

    def __init__(self, stack):
        self._stack, self.lines = stack, []

    def _count(self):
        return {group: len(self._stack.log(group)) for group in ("TokenLogs", "RotateLogs")}

    def __enter__(self):
        self._before = self._count()
        return self

    def __exit__(self, *_):
        for group, before in self._before.items():
            self.lines += self._stack.log(group)[before:]


def raises(alarms, lines):
    """The alarms that go off."""
    values = metrics(lines)
    return {name for name, alarm in alarms.items() if alarm["Namespace"] == "sftoken" and raised(alarm, values)}


def test_every_alarm_is_here(alarms, expanded):
    assert set(alarms) == set(expanded) == {
        "LoginRefused", "RotationFailed", "RotationOverdue", "CurrentPairFails", "DeadLettersArrived", "TokenErrors", "RotateErrors",
        "TokenThrottles", "TokenSlow"}


def test_every_alarm_tells_somebody_and_says_what_to_do(alarms, full):
    runbook = (deployment.ROOT / "docs" / "runbook.md").read_text()
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [full.outputs["AlarmTopicArn"]]
        # What the daily check found holds until the next one; everything else is over when nothing more happens. Source: CloudWatch
        # User Guide, "Configuring how CloudWatch alarms treat missing data".
        assert alarm["TreatMissingData"] == ("ignore" if name in ("RotationOverdue", "CurrentPairFails") else "notBreaching")
        where = re.search(r"see docs/runbook.md, (\w+)", alarm["AlarmDescription"])
        assert where, name
        assert re.search(rf"^(\| |#+ ){where[1]}\b", runbook, re.MULTILINE), f"{name}: the runbook has no {where[1]}"


def test_nothing_rings_while_all_is_well(emulator, full, erp, anybody, alarms):
    with Lines(full) as got:
        assert [full.call(anybody, APP).status for _ in range(2)] == [200, 200]
        check(emulator, full)
    assert {name for _, name, _ in metrics(got.lines)} >= {"Vends", "CacheHits", "PairAge", "RotationOverdue", "LoginFailed"}
    assert raises(alarms, got.lines) == set()


@pytest.fixture
def broken(org, erp, full, anybody):
    """Salesforce refuses the app, and no token is left."""
    assert full.call(anybody, APP, "DELETE").status == 204
    org.do("change", app=erp.name, flowOff=True)
    yield
    org.do("change", app=erp.name, flowOff=False)


def test_login_refused(full, anybody, alarms, broken):
    with Lines(full) as got:
        answer = full.call(anybody, APP)
    assert (answer.status, answer.json()["error"]) == (502, "app_misconfigured")
    assert raises(alarms, got.lines) == {"LoginRefused"}


def test_current_pair_fails(emulator, full, alarms, broken):
    with Lines(full) as got:
        check(emulator, full)
    assert raises(alarms, got.lines) == {"CurrentPairFails"}


def test_a_check_that_is_asked_for_ends_the_alarm_of_the_one_before(emulator, full, org, erp, alarms, broken):
    """However soon it comes: the period is 5 minutes, and a check that failed a moment ago must not hold the alarm for a day."""
    with Lines(full) as got:
        check(emulator, full)
        org.do("change", app=erp.name, flowOff=False)
        check(emulator, full)
    assert raises(alarms, got.lines) == set()
    assert all(float(alarms[name]["Period"]) <= 300 for name in ("RotationOverdue", "CurrentPairFails"))


def test_rotation_failed(emulator, full, erp, alarms):
    event = {"Step": "testSecret", "SecretId": PREFIX + APP, "ClientRequestToken": str(uuid.uuid4())}
    with Lines(full) as got:
        answer = invoke(emulator, full, event)
    assert raises(alarms, got.lines) == {"RotationFailed"}
    # RotateErrors counts the same: the function has failed, as Lambda sees it.
    assert answer["FunctionError"]


def test_rotation_overdue(emulator, full, erp, alarms):
    """The emulator knows no NextRotationDate, so that the line says 0: that it would say 1 is tested in Go."""
    with Lines(full) as got:
        check(emulator, full)
    line, = (line for line in got.lines if line.get("app") == APP)
    assert line["RotationOverdue"] == 0 and raises(alarms, [line]) == set()
    assert raises(alarms, [line | {"RotationOverdue": 1}]) == {"RotationOverdue"}


def test_another_app_does_not_ring(alarms):
    """Each app has alarms of its own."""
    line = {"app": "crm", "error": "app_misconfigured", "Refusals": 1, "_aws": {"CloudWatchMetrics": [
        {"Namespace": "sftoken", "Dimensions": [["app", "error"]], "Metrics": [{"Name": "Refusals", "Unit": "Count"}]}]}}
    assert raises(alarms, [line]) == set()
    assert raises(alarms, [line | {"app": APP}]) == {"LoginRefused"}


# AWS's own metrics. Sources: Lambda Developer Guide, "Types of metrics for Lambda functions"; SQS Developer Guide, "Available
# CloudWatch metrics for Amazon SQS".
AWS_METRICS = {
    "AWS/Lambda": ("FunctionName", {"Errors": "Sum", "Throttles": "Sum", "Duration": "p99"}),
    "AWS/SQS": ("QueueName", {"ApproximateNumberOfMessagesVisible": "Maximum"}),
}


@pytest.mark.parametrize("alarm, watched", {
    "TokenErrors": "TokenFunction", "RotateErrors": "RotateFunction", "TokenThrottles": "TokenFunction", "TokenSlow": "TokenFunction",
    "DeadLettersArrived": "DeadLetters",
}.items())
def test_alarms_on_metrics_of_aws(alarms, expanded, full, alarm, watched):
    dimension, names = AWS_METRICS[alarms[alarm]["Namespace"]]
    # Of the alarm as SAM expands it: the emulator forgets a percentile.
    statistic = expanded[alarm].get("Statistic") or expanded[alarm]["ExtendedStatistic"]
    assert statistic == names[alarms[alarm]["MetricName"]]
    # A queue's physical id is its URL.
    assert alarms[alarm]["Dimensions"] == [{"Name": dimension, "Value": full.resources[watched].rsplit("/", 1)[-1]}]


@pytest.fixture(scope="module")
def widgets(full, emulator):
    body = emulator.client("cloudwatch").get_dashboard(DashboardName=full.resources["Dashboard"])["DashboardBody"]
    return json.loads(body)["widgets"]


def test_the_dashboard_shows_metrics_that_exist(widgets):
    """The names that it searches for are in the code, with the dimensions that it searches by."""
    code = "".join(path.read_text() for path in (deployment.ROOT / "functions").glob("*/*.go") if not path.name.endswith("_test.go"))
    searches = re.findall(r"SEARCH\('\{sftoken,([a-z,]+)\} MetricName=\(?([^)']+)\)?'", " ".join(
        m[0]["expression"] for w in widgets for m in w["properties"].get("metrics", []) if isinstance(m[0], dict)))
    names = {(name, dimensions) for dimensions, text in searches for name in re.findall(r'"(\w+)"', text)}
    assert len(names) >= 10 and all(f'"{name}"' in code for name, _ in names)
    assert {d for name, d in names if name == "Refusals"} == {"app,error", "error"}
    assert {d for name, d in names if name != "Refusals"} == {"app"}


def test_the_dashboard_asks_log_groups_that_exist(widgets, full):
    """What the queries find is checked on real log lines, in cmd/sftoken."""
    sources = {re.match(r"SOURCE '([^']+)' \| ", w["properties"]["query"])[1] for w in widgets if w["type"] == "log"}
    assert sources == {full.resources["TokenLogs"], full.resources["AccessLogs"]}


def test_the_dashboard_shows_every_alarm(widgets, alarms):
    [shown] = [w["properties"]["alarms"] for w in widgets if w["type"] == "alarm"]
    assert sorted(arn.split(":alarm:")[1] for arn in shown) == sorted(a["AlarmName"] for a in alarms.values() if "AlarmName" in a)
    assert "${RotationOverdue.Arn}" in TEMPLATE.read_text().split("DashboardBody:")[1]  # which comes with the schedule
