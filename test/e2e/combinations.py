"""The combinations of template.yaml's parameters that can occur."""

import itertools

from deployment import EVERYTHING, PRIVATE

OFF = {}  # the default


def given(*names, **values):
    """These parameters as EVERYTHING has them, or with other values."""
    return {name: EVERYTHING[name] for name in names} | values


# What a deployment may choose, one of each list. Two choices are in different lists if they can be combined; the rules of the template
# refuse some of the combinations.
INTERACTING = {
    "VPC": [OFF, given("SubnetIds", "SecurityGroupIds")],
    "first app": [OFF, {"AppName": "off"}],
    "rotation": [OFF, {"RotationSchedule": "off"}],
    "probe": [OFF, {"ProbeSchedule": "rate(1 hour)"}],
    "other accounts": [OFF, given("AllowedAccounts"), given("OrganizationId"), given("AllowedAccounts", "OrganizationId", "ForeignRevoke")],
    "endpoint": [OFF, PRIVATE],
    "domain": [OFF, given("DomainName", "CertificateArn"), given("DomainName", "CertificateArn", "HostedZoneId")],
    "second region": [
        OFF, {name: EVERYTHING[name].split(",")[0] for name in ("ReplicaRegions", "ReplicaKeyArns")},
        given("ReplicaRegions", "ReplicaKeyArns"), {"Standby": "true"}, {"Standby": "promoted"},
    ],
    "traffic shift": [OFF, given("DeploymentPreference")],
}
# These add something that nothing else depends on.
INDEPENDENT = {name: [OFF, given(name)] for name in (
    "Tracing", "WebAclArn", "SharedTokens", "ProvisionedConcurrency", "ReservedConcurrency", "RotateReservedConcurrency", "AlarmEmail", "ApiLogRole",
    "PermissionsBoundary", "CodeSigningConfigArn")}


def merged(choices):
    return {name: value for choice in choices for name, value in choice.items()}


def every():
    """Each combination of what interacts, those included that the rules refuse; with the independent ones in turn."""
    independent = _in_turn(INDEPENDENT.values())
    for choices in itertools.product(*INTERACTING.values()):
        yield merged(choices + next(independent))


def _in_turn(lists):
    """Choices without end, neighbours different in many."""
    all = list(itertools.product(*lists))
    return (all[i * 211 % len(all)] for i in itertools.count())  # 211 is prime, and so comes to each


def refused(p):
    """Whether the template's rules refuse these parameters, as docs/how-to/network.md and docs/how-to/regions.md describe them."""
    private = p.get("EndpointType") == "PRIVATE"
    return (private and "DomainName" in p
            or private and "ProbeSchedule" in p and "SubnetIds" not in p
            or "ReplicaRegions" in p and "Standby" in p)


def covering():
    """A few of the combinations, in which each pair of choices occurs that can be combined: but for other accounts, on which only the
    API's policy depends, and what is independent."""
    lists = [choices for name, choices in INTERACTING.items() if name != "other accounts"]
    rest = _in_turn([INTERACTING["other accounts"], *INDEPENDENT.values()])
    pairs = {
        ((i, a), (j, b)) for (i, one), (j, other) in itertools.combinations(enumerate(lists), 2) for a in range(len(one)) for b in range(len(other))
        if not refused(given("SubnetIds") | merged([one[a], other[b]]))  # a third choice, with which two can be combined
    }
    while pairs:
        chosen = _with_most(pairs, lists)
        covered = {pair for pair in pairs if all(chosen[i] == a for i, a in pair)}
        pairs -= covered
        yield merged([*(lists[i][a] for i, a in enumerate(chosen)), *next(rest)])


def _with_most(pairs, lists):
    """A combination with the first pair, and then for each list the choice that adds the most pairs."""
    fixed = dict(sorted(pairs)[0])
    for i, choices in enumerate(lists):
        if i in fixed:
            continue

        def worth(a, i=i):
            tried = fixed | {i: a}
            return sum(all(tried.get(k) == c for k, c in pair) for pair in pairs)

        possible = [a for a in range(len(choices)) if not refused(merged(lists[k][c] for k, c in (fixed | {i: a}).items()))]
        fixed[i] = max(possible, key=worth)
    return [fixed[i] for i in range(len(lists))]
