"""What should raise an alarm raises it: the deployed functions' own log lines, read as CloudWatch reads the embedded metric format,
against the alarms as they are deployed. In the full stack, whose apps are its own."""

import contextlib
import copy
import json
import re
import uuid

import pytest

import deployment
from aws import wait_for
from deployment import EVERYTHING, TEMPLATE
from policies import READ, RolePolicy, without
from rotations import reaction, restart
from test_template import OF_AN_APP, OF_THE_PROBE, OF_THE_REPLICAS, OF_THE_STACK, OF_THE_TABLE
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
    topic = [full.outputs["AlarmTopicArn"]]
    return found | {"RotationOverdue": expanded["RotationOverdue"] | {"AlarmActions": topic, "OKActions": topic}}


def invoke(emulator, full, event):
    return emulator.client("lambda").invoke(FunctionName=full.resources["RotateFunction"], Payload=json.dumps(event))


def check(emulator, full):
    """The daily check, by a new process: one that has found an app well does not try it again for an hour."""
    restart(emulator, full)
    assert "FunctionError" not in invoke(emulator, full, {"source": "aws.events", "detail-type": "Scheduled Event"})


def probe(emulator, full):
    """A probe of the emulator's API, whose report it returns. The address that the template sets is AWS's."""
    restart(emulator, full, "ProbeFunction", API_URL=full.api_url)
    response = emulator.client("lambda").invoke(FunctionName=full.resources["ProbeFunction"], Payload=b"{}")
    report = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, report
    return report


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


def datapoint(alarm, values):
    """What the alarm's one metric comes to in a period with these values; None where it has none."""
    watched = values.get((alarm["Namespace"], alarm["MetricName"], frozenset((d["Name"], d["Value"]) for d in alarm.get("Dimensions") or [])))
    return {"Sum": sum, "Minimum": min, "Maximum": max}[alarm["Statistic"]](watched) if watched else None


def fires(alarm, periods):
    """Whether the alarm is on after these periods, each the values of one; before them there were none. Sources: CloudWatch User Guide,
    "Alarm evaluation" and "Configuring how CloudWatch alarms treat missing data"."""
    evaluated = int(alarm["EvaluationPeriods"])
    needed = int(alarm.get("DatapointsToAlarm") or evaluated)
    points = [datapoint(alarm, values) for values in ([{}] * evaluated + periods)[-evaluated:]]
    threshold, compare = float(alarm["Threshold"]), {
        "GreaterThanOrEqualToThreshold": float.__ge__, "LessThanThreshold": float.__lt__}[alarm["ComparisonOperator"]]
    breaching = [alarm["TreatMissingData"] == "breaching" if p is None else compare(float(p), threshold) for p in points]
    return sum(breaching) >= needed


class Lines:
    """The log lines that a block of code has made the functions write."""

    def __init__(self, stack):
        self._stack, self.lines = stack, []

    def _count(self):
        return {group: len(self._stack.log(group)) for group in ("TokenLogs", "RotateLogs", "ProbeLogs")}

    def __enter__(self):
        self._before = self._count()
        return self

    def __exit__(self, *_):
        for group, before in self._before.items():
            self.lines += self._stack.log(group)[before:]


def raises(alarms, lines, periods=1):
    """The alarms that fire when the lines are written in each of so many periods, where all was well before and a daily check has been."""
    values = metrics(lines)
    return {name for name, alarm in alarms.items()
            if alarm["Namespace"] == "sftoken" and alarm["TreatMissingData"] != "breaching" and fires(alarm, [values] * periods)}


def test_every_alarm_is_here(alarms, expanded):
    assert set(alarms) == set(expanded) == OF_AN_APP | OF_THE_STACK | OF_THE_TABLE | OF_THE_PROBE | OF_THE_REPLICAS


# What the daily check or a probe found holds until the next one. That there was none is what two alarms are for. Everything else is over
# when nothing more happens. Source: CloudWatch User Guide, "Configuring how CloudWatch alarms treat missing data".
WITHOUT_DATA = {"RotationOverdue": "ignore", "CurrentPairFails": "ignore", "ReplicationFails": "ignore", "NoDailyCheck": "breaching",
                "ProbeFails": "ignore", "ProbeNotRefused": "ignore", "NoProbe": "breaching"}


def test_every_alarm_notifies_and_links_to_its_section(alarms, expanded, full):
    runbook = (deployment.ROOT / "docs" / "how-to" / "runbook.md").read_text()
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [full.outputs["AlarmTopicArn"]], name
        assert alarm["TreatMissingData"] == WITHOUT_DATA.get(name, "notBreaching")
        assert alarm["AlarmDescription"].endswith(f": {EVERYTHING['RunbookUrl']}#{name.lower()}")
        assert (APP in alarm["AlarmDescription"].split(":")[0]) == (name in OF_AN_APP | OF_THE_PROBE | OF_THE_REPLICAS)
        assert re.search(rf"^### {name}$", runbook, re.MULTILINE), f"the runbook has no section {name}"
        assert expanded[name]["OKActions"] == expanded[name]["AlarmActions"] == ["AlarmTopic"]


def test_cloudwatch_accepts_the_periods(expanded):
    """Seven days in all with periods of an hour or more, one day with shorter ones. Source: CloudWatch API Reference, PutMetricAlarm."""
    for alarm in expanded.values():
        period = int(alarm["Period"])
        assert period % 60 == 0 and period * int(alarm["EvaluationPeriods"]) <= (604_800 if period >= 3600 else 86_400)
        assert 1 <= int(alarm.get("DatapointsToAlarm", 1)) <= int(alarm["EvaluationPeriods"])


def test_no_alarm_fires_while_all_is_well(emulator, full, erp, admin, alarms):
    with Lines(full) as got:
        assert [full.call(admin, APP).status for _ in range(2)] == [200, 200]
        check(emulator, full)
        assert [c["outcome"] for c in probe(emulator, full)["checks"]] == ["ok"] * 3
    assert {name for _, name, _ in metrics(got.lines)} >= {
        "Vends", "CacheHits", "PairAge", "RotationOverdue", "LoginFailed", "ProbeFailures", "ProbesNotRefused", "ProbesCompleted"}
    assert raises(alarms, got.lines, periods=10) == set()


class Harness:
    """The full stack and what can go wrong with it."""

    def __init__(self, emulator, full, org, erp, admin, put_secret):
        self.emulator, self.full, self.org, self.erp, self.admin, self._put = emulator, full, org, erp, admin, put_secret

    def get(self, app=APP):
        return self.full.call(self.admin, app)

    def revoke(self):
        assert self.full.call(self.admin, APP, "DELETE").status == 204

    def check(self):
        check(self.emulator, self.full)

    def put(self, app=APP, labels=("AWSCURRENT",), **fields):
        """Stores the app's credentials with other fields."""
        good = self.org.credentials(self.erp.name)
        return self._put(app, good.value(self.org.url, rotates=True) | fields, labels=labels, prefix=PREFIX)

    def delete(self, app):
        """No other secret may keep the app's credentials: a rotation would refuse to end them."""
        self.emulator.client("secretsmanager").delete_secret(SecretId=PREFIX + app, ForceDeleteWithoutRecovery=True)

    @contextlib.contextmanager
    def broken(self, **change):
        """The app as it is changed at Salesforce, with no token left."""
        self.revoke()
        self.org.do("change", app=self.erp.name, **change)
        try:
            yield
        finally:
            self.org.do("change", app=self.erp.name)

    @contextlib.contextmanager
    def fault(self, endpoint, fault):
        self.revoke()
        self.org.inject_fault(endpoint, fault)
        try:
            yield
        finally:
            self.org.clear_faults()

    @contextlib.contextmanager
    def forbidden(self, action, role, name):
        """The role's policy without an action."""
        policy = RolePolicy(self.emulator.client("iam"), self.full, role, name)
        policy.put(without(policy.document, action))
        try:
            yield
        finally:
            policy.put(policy.document)

    def recover(self):
        """Waits until a failure is no longer remembered."""
        wait_for(lambda: self.get().status == 200, 60, "a token after the failure", pause=0.5)


@pytest.fixture(scope="module")
def harness(emulator, full, org, erp, admin, put_secret):
    return Harness(emulator, full, org, erp, admin, put_secret)


# How to cause each alarm on the functions' own metrics: with real log lines, so that an alarm on a metric that no function
# writes fails here. Each returns the response to the caller, if there is one.

def login_refused(w):
    with w.broken(flowOff=True):
        return w.get()


def tokens_unavailable(w):
    with w.fault("token", "maintenance"):
        return w.get()


def bad_upstream_response(w):
    with w.fault("token", "foreign instance_url"):
        return w.get()


def current_credentials_fail(w):
    with w.broken(flowOff=True):
        w.check()


def run_as_user_blocked(w):
    with w.broken(frozen=True):
        w.check()


def rotation_failed(w):
    event = {"Step": "testSecret", "SecretId": PREFIX + APP, "ClientRequestToken": str(uuid.uuid4())}
    # RotateErrors counts the same: the function has failed, as Lambda sees it.
    assert invoke(w.emulator, w.full, event)["FunctionError"]


def candidate_refused(w):
    version = w.put(labels=["CANDIDATE"], consumerSecret="wrong")
    reaction(w.full, version, "CANDIDATE")


def rolled_back(w):
    version = w.put(consumerSecret="wrong")
    reaction(w.full, version, "AWSCURRENT")


def principals_unreadable(w):
    version = w.put(allowedPrincipals=["not a principal"])
    try:
        reaction(w.full, version, "AWSCURRENT")
        w.check()
    finally:
        reaction(w.full, w.put(), "AWSCURRENT")


def app_secret_denied(w):
    with w.forbidden(READ[0], "RotateRole", "rotate"):
        w.check()


def secret_denied(w):
    w.put("never-asked-for")
    try:
        with w.forbidden(READ[0], "TokenRole", "token"):
            return w.get("never-asked-for")
    finally:
        w.delete("never-asked-for")


def login_budget_exhausted(w):
    def spend():
        w.revoke()
        response = w.get()
        return response.status != 200 and response

    return wait_for(spend, 60, f"the end of {EVERYTHING['LoginBurst']} logins", pause=0)


def token_table_fails(w):
    """A caller gets its token all the same."""
    w.put("shared-with-none")
    try:
        with w.forbidden("dynamodb:GetItem", "TokenRole", "token-table"):
            assert w.get("shared-with-none").status == 200
    finally:
        w.delete("shared-with-none")


def probe_fails(w):
    with w.broken(flowOff=True):
        assert probe(w.emulator, w.full)["outcome"] == "failed"


def probe_not_refused(w):
    """The role may use every app: IAM lets the probe through to one that does not exist."""
    policy = RolePolicy(w.emulator.client("iam"), w.full, "ProbeRole", "probe")
    wide = copy.deepcopy(policy.document)
    for statement in wide["Statement"]:
        if statement["Action"] == "execute-api:Invoke":
            statement["Resource"] = statement["Resource"].replace(APP, "*")
    policy.put(wide)
    try:
        allowed, unsigned, denied = probe(w.emulator, w.full)["checks"]
    finally:
        policy.put(policy.document)
    assert (allowed["outcome"], unsigned["outcome"], denied["outcome"], denied["error"]) == ("ok", "ok", "not_refused", "unknown_app")


MISCONFIGURED, BAD, UNAVAILABLE, UNKNOWN = (502, "app_misconfigured"), (502, "bad_upstream_response"), (503, "temporarily_unavailable"), (404, "unknown_app")

# Of each alarm: how to cause it, the expected response, how many of its periods that lasts, and which other alarms are right to fire too.
CASES = {
    "LoginRefused": (login_refused, MISCONFIGURED, 1, set()),
    "TokensUnavailable": (tokens_unavailable, UNAVAILABLE, 5, set()),
    "BadUpstreamResponse": (bad_upstream_response, BAD, 1, set()),
    "CurrentPairFails": (current_credentials_fail, None, 1, set()),
    "RunAsUserBlocked": (run_as_user_blocked, None, 1, {"CurrentPairFails"}),
    "RotationFailed": (rotation_failed, None, 1, set()),
    "CandidateRefused": (candidate_refused, None, 1, set()),
    "RolledBack": (rolled_back, None, 1, {"CandidateRefused"}),
    "PrincipalsUnreadable": (principals_unreadable, None, 1, set()),
    "AppSecretDenied": (app_secret_denied, None, 1, {"CurrentPairFails"}),
    "SecretDenied": (secret_denied, UNKNOWN, 1, set()),
    "ProbeFails": (probe_fails, None, 1, {"LoginRefused"}),
    "ProbeNotRefused": (probe_not_refused, None, 1, set()),
    "LoginBudgetExhausted": (login_budget_exhausted, UNAVAILABLE, 1, set()),
    "TokenTableFails": (token_table_fails, None, 3, set()),  # the process bypasses the table for 30 seconds
}


def test_every_alarm_on_our_own_metrics_is_tried(alarms):
    apart = {"RotationOverdue", "ReplicationFails", "ManyLogins", "NoDailyCheck", "NoProbe"}  # below
    assert {name for name, alarm in alarms.items() if alarm["Namespace"] == "sftoken"} == set(CASES) | apart


@pytest.mark.parametrize("alarm", CASES)
def test_alarm(alarm, alarms, harness):
    happens, expected, lasts, others = CASES[alarm]
    with Lines(harness.full) as got:
        response = happens(harness)
    if expected:
        assert (response.status, response.json()["error"]) == expected
    harness.recover()
    assert {alarm} <= raises(alarms, got.lines, lasts) <= {alarm} | others
    # Not before, and not for as long as another app's lines.
    assert lasts == 1 or alarm not in raises(alarms, got.lines, lasts - 1)
    assert alarm not in OF_AN_APP | OF_THE_PROBE or alarm not in raises(alarms, [line | {"app": "another"} for line in got.lines], lasts)


def test_a_check_that_is_asked_for_ends_the_alarm_of_the_one_before(alarms, harness):
    """However soon it comes: the period is 5 minutes, and a check that failed a moment ago must not hold the alarm for a day."""
    with Lines(harness.full) as got:
        with harness.broken(flowOff=True):
            harness.check()
        harness.check()
    assert raises(alarms, got.lines) == set()
    assert all(float(alarms[name]["Period"]) <= 300 for name in ("RotationOverdue", "CurrentPairFails", "ReplicationFails"))


@pytest.mark.parametrize("name", ["RunAsUserBlocked", "AppSecretDenied"])
def test_what_a_daily_check_found_lasts_until_the_next_one(name, alarms):
    """It writes no value where all is well: without these hours the alarm would end, and say so, while nothing is fixed."""
    alarm = alarms[name]
    found = {(alarm["Namespace"], alarm["MetricName"], frozenset((d["Name"], d["Value"]) for d in alarm["Dimensions"])): [1]}
    assert float(alarm["Period"]) == 3600
    assert fires(alarm, [found] + [{}] * 24) and not fires(alarm, [found] + [{}] * 25)


def test_rotation_overdue(alarms, harness):
    """The emulator knows no NextRotationDate, so that the line says 0: that it would say 1 is tested in Go."""
    with Lines(harness.full) as got:
        harness.check()
    line, = (line for line in got.lines if line.get("app") == APP)
    assert line["RotationOverdue"] == 0 and raises(alarms, [line]) == set()
    assert raises(alarms, [line | {"RotationOverdue": 1}]) == {"RotationOverdue"}


def test_replication_fails(alarms, harness):
    """The emulator's replicas are always in sync, so that the line says 0: that it would say 1 is tested in Go."""
    with Lines(harness.full) as got:
        harness.check()
    line, = (line for line in got.lines if line.get("app") == APP)
    assert line["ReplicationFailed"] == 0 and raises(alarms, [line]) == set()
    assert raises(alarms, [line | {"ReplicationFailed": 1}]) == {"ReplicationFails"}


def test_no_daily_check(alarms, harness):
    """A check's line ends the alarm, and 26 hours without one raise it."""
    alarm = alarms["NoDailyCheck"]
    with Lines(harness.full) as got:
        harness.check()
    assert int(alarm["Period"]) * int(alarm["EvaluationPeriods"]) == 26 * 3600
    assert not fires(alarm, [metrics(got.lines)])
    assert not fires(alarm, [metrics(got.lines)] + [{}] * 25)
    assert fires(alarm, [metrics(got.lines)] + [{}] * 26)


def test_no_probe(alarms, harness):
    """26 hours without a probe that has checked everything raise it. One that finds the API down is no such probe."""
    alarm = alarms["NoProbe"]
    with Lines(harness.full) as complete:
        probe(harness.emulator, harness.full)
    with Lines(harness.full) as down:
        restart(harness.emulator, harness.full, "ProbeFunction", API_URL="http://127.0.0.1:1/v1")
        harness.emulator.client("lambda").invoke(FunctionName=harness.full.resources["ProbeFunction"], Payload=b"{}")
    checked, nothing = metrics(complete.lines), metrics(down.lines)
    assert int(alarm["Period"]) * int(alarm["EvaluationPeriods"]) == 26 * 3600
    assert not fires(alarm, [checked] + [nothing] * 25) and not fires(alarm, [checked] + [{}] * 25)
    assert fires(alarm, [checked] + [nothing] * 26) and fires(alarm, [checked] + [{}] * 26)
    # It does not end the alarm of an API that admitted a call before.
    assert datapoint(alarms["ProbeFails"], nothing) == 1 and datapoint(alarms["ProbeNotRefused"], nothing) is None


def logins(lines):
    return [line for line in lines if line.get("app") == APP and "Logins" in line]


def test_many_logins(alarms, harness):
    """Those of both functions are one metric."""
    with Lines(harness.full) as vended:
        harness.revoke()
        assert harness.get().status == 200
    with Lines(harness.full) as checked:
        harness.check()
    for lines in logins(vended.lines), logins(checked.lines):
        assert lines
        total = sum(line["Logins"] for line in lines)
        assert "ManyLogins" not in raises(alarms, lines * (1799 // int(total)))
        assert "ManyLogins" in raises(alarms, lines * (1800 // int(total) + 1))
    alarm = alarms["ManyLogins"]
    assert float(alarm["Period"]) == 3600 and float(alarm["Threshold"]) == 3600 / 2  # of the logins that Salesforce allows a user in an hour


@pytest.mark.parametrize("metric, group", [(m, g) for m in ("Logins", "PrincipalsUnreadable") for g in ("TokenLogs", "RotateLogs")])
def test_both_functions_write(metric, group, harness):
    """For an app that the token function has not read yet, since it keeps what it knows of a secret for a while."""
    app = f"both-{metric.lower()}-{group.lower()}"
    fields = {"allowedPrincipals": ["not a principal"]} if metric == "PrincipalsUnreadable" else {}
    before = len(harness.full.log(group))
    harness.put(app, **fields)
    try:
        harness.get(app)
        harness.check()
    finally:
        harness.delete(app)
    assert ("sftoken", metric, frozenset({("app", app)})) in metrics(harness.full.log(group)[before:])


# AWS's own metrics. Sources: Lambda Developer Guide, "Types of metrics for Lambda functions"; SQS Developer Guide, "Available
# CloudWatch metrics for Amazon SQS".
AWS_METRICS = {
    "AWS/Lambda": {"Errors": "Sum", "Throttles": "Sum", "Duration": "p99"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible": "Maximum"},
    "AWS/ApiGateway": {"5XXError": "Average"},
}


@pytest.mark.parametrize("alarm, dimension, watched", [
    ("TokenErrors", "FunctionName", "TokenFunction"), ("RotateErrors", "FunctionName", "RotateFunction"),
    ("TokenThrottles", "FunctionName", "TokenFunction"), ("RotateThrottles", "FunctionName", "RotateFunction"),
    ("TokenSlow", "FunctionName", "TokenFunction"), ("DeadLettersArrived", "QueueName", "DeadLetters"), ("ApiErrors", "ApiName", None),
])
def test_alarms_on_metrics_of_aws(alarms, expanded, full, emulator, alarm, dimension, watched):
    names = AWS_METRICS[alarms[alarm]["Namespace"]]
    # Of the alarm as SAM expands it: the emulator forgets a percentile.
    statistic = expanded[alarm].get("Statistic") or expanded[alarm]["ExtendedStatistic"]
    assert statistic == names[alarms[alarm]["MetricName"]]
    if watched:  # a queue's physical id is its URL
        want = {dimension: full.resources[watched].rsplit("/", 1)[-1]}
    else:
        want = {dimension: emulator.client("apigateway").get_rest_api(restApiId=full.outputs["ApiId"])["name"], "Stage": "v1"}
    assert {d["Name"]: d["Value"] for d in alarms[alarm]["Dimensions"]} == want


def test_every_alarm_on_metrics_of_aws_is_looked_at(alarms):
    looked = {"TokenErrors", "RotateErrors", "TokenThrottles", "RotateThrottles", "TokenSlow", "DeadLettersArrived", "ApiErrors"}
    assert {name for name, alarm in alarms.items() if alarm["Namespace"] != "sftoken"} == looked


def test_api_errors_is_a_share_that_lasts(expanded):
    """One failed request of a quiet API must not fire it."""
    alarm = expanded["ApiErrors"]
    assert (alarm["Threshold"], alarm["Period"], alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (0.05, 300, 3, 2)


@pytest.fixture(scope="module")
def widgets(full, emulator):
    body = emulator.client("cloudwatch").get_dashboard(DashboardName=full.resources["Dashboard"])["DashboardBody"]
    return json.loads(body)["widgets"]


def test_the_dashboard_shows_metrics_that_exist(widgets):
    """The metrics that it searches for are in the code, with the same dimensions."""
    code = "".join(path.read_text() for path in (deployment.ROOT / "internal").glob("*api/*.go") if not path.name.endswith("_test.go"))
    searches = re.findall(r"SEARCH\('\{sftoken,([a-z,]+)\} MetricName=\(?([^)']+)\)?'", " ".join(
        m[0]["expression"] for w in widgets for m in w["properties"].get("metrics", []) if isinstance(m[0], dict)))
    names = {(name, dimensions) for dimensions, text in searches for name in re.findall(r'"(\w+)"', text)}
    assert len(names) >= 10 and all(f'"{name}"' in code for name, _ in names)
    assert {d for name, d in names if name == "Refusals"} == {"app,error", "error"}
    assert {d for name, d in names if name != "Refusals"} == {"app"}
    # Those that it names have no dimension.
    named = [m for w in widgets for m in w["properties"].get("metrics", []) if m[0] == "sftoken"]
    assert named == [["sftoken", "SharedErrors"]] and '"SharedErrors"' in code


def test_the_dashboard_asks_log_groups_that_exist(widgets, full):
    """test/docs checks the queries themselves."""
    sources = {re.match(r"SOURCE '([^']+)' \| ", w["properties"]["query"])[1] for w in widgets if w["type"] == "log"}
    assert sources == {full.resources["TokenLogs"], full.resources["AccessLogs"]}


def test_the_token_table_alarm_needs_three_periods_of_an_hour(expanded):
    """One slow call is normal. An app with few callers uses the table every 10 minutes, and its alarm must fire too."""
    alarm = expanded["TokenTableFails"]
    failed, fine = {("sftoken", "SharedErrors", frozenset()): [1]}, {}
    assert int(alarm["Period"]) * int(alarm["EvaluationPeriods"]) == 3600
    assert fires(alarm, [failed, fine, failed, fine, failed]) and not fires(alarm, [failed, fine, failed])
    assert not fires(alarm, [failed] * 2 + [fine] * 12 + [failed] * 2)


def test_the_dashboard_shows_every_alarm(widgets, alarms):
    [shown] = [w["properties"]["alarms"] for w in widgets if w["type"] == "alarm"]
    assert sorted(arn.split(":alarm:")[1] for arn in shown) == sorted(a["AlarmName"] for a in alarms.values() if "AlarmName" in a)
    assert "${RotationOverdue.Arn}" in TEMPLATE.read_text().split("DashboardBody:")[1]  # which comes with the schedule
