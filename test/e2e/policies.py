"""A small evaluator of IAM policies, the changes to a policy that a test should notice, and the policies of deployed roles."""

import copy
import json
import re

# What the functions do with an app's secret.
READ, WRITE = ("secretsmanager:GetSecretValue",), ("secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage")
DESCRIBE, LIST = ("secretsmanager:DescribeSecret",), ("secretsmanager:ListSecrets",)
TAG, CHECKED = ("secretsmanager:TagResource",), "sftoken:checked"  # and the key of the only tag
ITEMS = ("dynamodb:GetItem", "dynamodb:UpdateItem")  # and with the token table


def matches(pattern, value):
    """IAM's wildcards: * is any text, ? one character."""
    return re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), value, re.DOTALL) is not None


def listed(value):
    return value if isinstance(value, list) else [value]


def decision(document, action, resource, by=None, context=None):
    """What the document has for the request: Allow, Deny, or None if no statement covers it. by is the ARN of a principal, or a
    service; in a policy without principals it does not matter."""
    context = {k.lower(): v for k, v in (context or {}).items()}
    effects = {s["Effect"] for s in listed(document["Statement"]) if _covers(s, action, resource, by, context)}
    return "Deny" if "Deny" in effects else "Allow" if effects else None


def _covers(statement, action, resource, by, context):
    assert statement["Effect"] in ("Allow", "Deny") and not set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    return (any(matches(a.lower(), action.lower()) for a in listed(statement["Action"]))
            and ("Resource" not in statement or any(matches(r, resource) for r in listed(statement["Resource"])))
            and ("Principal" not in statement or _is(statement["Principal"], by))
            and all(_holds(operator, listed(wanted), context.get(key.lower()))
                    for operator, keys in statement.get("Condition", {}).items() for key, wanted in keys.items()))


def _is(principal, by):
    if principal == "*":
        return True
    if by.startswith("arn:"):
        account = by.split(":")[4]
        # The root of an account stands for all its principals.
        return any(p in (by, account, f"arn:aws:iam::{account}:root") for p in listed(principal.get("AWS", [])))
    return by in listed(principal.get("Service", []))


def _holds(operator, wanted, value):
    match operator:
        case "StringEquals":
            return value in wanted
        case "StringNotEquals":  # holds where the key is missing, too
            return value not in wanted
        case "ArnEquals" | "ArnLike" | "StringLike":
            return value is not None and any(matches(w, value) for w in wanted)
        case "ForAllValues:StringEquals":  # holds where the key is missing, too; its value is a list
            return all(v in wanted for v in value or [])
        case "Null":
            return (value is None) == (wanted == ["true"])
    raise NotImplementedError(operator)


def mutants(document):
    """Every change of one thing: (what has been done, the changed document). A part taken away, or a limit."""
    for i, statement in enumerate(listed(document["Statement"])):
        name = statement.get("Sid") or f"statement {i}"

        def mutant(what, change, i=i, name=name):
            changed = copy.deepcopy(document)
            changed["Statement"] = listed(changed["Statement"])
            change(changed["Statement"], changed["Statement"][i])
            return f"{name}: {what}", changed

        yield mutant("removed", lambda all, this: all.remove(this))
        for key in ("Action", "Resource"):
            values = listed(statement.get(key, []))
            for value in values if len(values) > 1 else []:
                yield mutant(f"without {value}", lambda all, this, key=key, value=value: this[key].remove(value))
        if "Resource" in statement and statement["Resource"] != "*":
            yield mutant("any resource", lambda all, this: this.update(Resource="*"))
        for kind, who in statement["Principal"].items() if isinstance(statement.get("Principal"), dict) else []:
            for value in who if isinstance(who, list) and len(who) > 1 else []:
                yield mutant(f"without {value}", lambda all, this, kind=kind, value=value: this["Principal"][kind].remove(value))
        for operator, keys in statement.get("Condition", {}).items():
            for key, wanted in keys.items():
                yield mutant(f"whatever {key}", lambda all, this, operator=operator, key=key: this["Condition"][operator].pop(key))
                for value in wanted if isinstance(wanted, list) and len(wanted) > 1 else []:
                    yield mutant(f"without {value}", lambda all, this, operator=operator, key=key, value=value:
                                 this["Condition"][operator][key].remove(value))


def without(document, action):
    """The document without one action."""
    return next(changed for what, changed in mutants(document) if what.endswith(": without " + action) or (
        what.endswith(": removed") and action in [s["Action"] for s in document["Statement"] if s not in changed["Statement"]]))


class RolePolicy:
    """An inline policy of a deployed role."""

    def __init__(self, iam, stack, role, name):
        self._iam, self._where = iam, {"RoleName": stack.resources[role], "PolicyName": name}
        self.document = iam.get_role_policy(**self._where)["PolicyDocument"]

    def put(self, document):
        """Replaces it."""
        self._iam.put_role_policy(**self._where, PolicyDocument=json.dumps(document))
