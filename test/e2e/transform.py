"""A SAM template as CloudFormation gets it: expanded by SAM's own translator, then with parameters, conditions and functions
resolved, so that a test can look at what a set of parameters deploys without deploying it."""

import logging
import os
import re

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the translator asks for one, and for nothing else of AWS

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

logging.getLogger("samtranslator").setLevel(logging.ERROR)

PSEUDO = {
    "AWS::AccountId": "111111111111", "AWS::Region": "us-east-1", "AWS::Partition": "aws", "AWS::StackName": "sftoken",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()  # AWS::NoValue


def transform(path, **parameters):
    """The template's resources by logical id, for these parameters and the defaults of the others. Ref of a resource is its
    logical id; GetAtt of Arn is the id in braces, ${Id.Arn}."""
    with open(path) as file:
        source = yaml_parse(file.read())
    values = {name: str(p.get("Default", "")) for name, p in source["Parameters"].items()} | {k: str(v) for k, v in parameters.items()}
    for name, value in values.items():
        pattern = source["Parameters"][name].get("AllowedPattern")
        assert not pattern or re.fullmatch(pattern, value), f"{name}={value!r} does not match {pattern}"
        allowed = source["Parameters"][name].get("AllowedValues", [value])
        assert value in map(str, allowed), f"{name}={value!r} is none of {allowed}"
    check_rules(source, values)
    # What `sam package` does.
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    source.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    return resolve(Translator({}, Parser()).translate(source, values | PSEUDO), values)


def check_rules(template, values):
    """Fails with the description of an assertion that does not hold for these parameters, as CloudFormation does."""
    walk = resolver(template, values)
    for rule in template.get("Rules", {}).values():
        if walk(rule.get("RuleCondition", True)):
            for assertion in rule["Assertions"]:
                assert walk(assertion["Assert"]), assertion["AssertDescription"]


def resolver(template, values):
    """A function that resolves a part of the template."""
    conditions, mappings = template.get("Conditions", {}), template.get("Mappings", {})

    def holds(name):
        return walk(conditions[name])

    def walk(node):
        if isinstance(node, list):
            return [item for item in map(walk, node) if item is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, of), = node.items()
            match function:
                case "Ref":
                    return NOTHING if of == "AWS::NoValue" else values.get(of, PSEUDO.get(of, of))
                case "Condition" if isinstance(of, str):
                    return holds(of)
                case "Fn::If":
                    return walk(of[1] if holds(of[0]) else of[2])
                case "Fn::Equals":
                    one, other = map(walk, of)
                    return str(one) == str(other)
                case "Fn::Not":
                    return not walk(of[0])
                case "Fn::Or":
                    return any(map(walk, of))
                case "Fn::And":
                    return all(map(walk, of))
                case "Fn::Split":
                    return walk(of[1]).split(of[0])
                case "Fn::Select":
                    return walk(of[1])[int(of[0])]
                case "Fn::Join":
                    return of[0].join(map(str, walk(of[1])))
                case "Fn::FindInMap":
                    mapping, key, name = map(walk, of)
                    return mappings[mapping][key][name]
                case "Fn::GetAtt":
                    return "${" + (of if isinstance(of, str) else ".".join(of)) + "}"
                case "Fn::Sub":
                    text, more = (of, {}) if isinstance(of, str) else (of[0], walk(of[1]))
                    known = values | PSEUDO | more

                    def value(match):
                        name = match[1]
                        return str(known[name]) if name in known else match[0] if "." in name else name

                    return re.sub(r"\$\{([^}!]+)\}", value, text)
        return {k: v for k, v in ((k, walk(v)) for k, v in node.items()) if v is not NOTHING}

    return walk


def resolve(template, values):
    """The resources that are made with these parameters, resolved."""
    walk = resolver(template, values)
    # A condition and a dependency are names, not functions.
    return {
        name: {"Type": r["Type"], "DependsOn": r.get("DependsOn", []), "UpdatePolicy": walk(r.get("UpdatePolicy", {})), "DeletionPolicy": r.get("DeletionPolicy"),
               "UpdateReplacePolicy": r.get("UpdateReplacePolicy"), "Properties": walk(r.get("Properties", {}))}
        for name, r in template["Resources"].items() if "Condition" not in r or walk({"Condition": r["Condition"]})
    }


def of_type(resources, kind):
    """The properties of the resources of this type, by logical id."""
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}
