"""A SAM template as CloudFormation gets it: expanded by SAM's own translator, then with parameters, conditions and functions
resolved, so that a test can look at what a set of parameters deploys without deploying it."""

import ipaddress
import itertools
import json
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
    logical id; GetAtt of Arn is the id in braces, ${Id.Arn}. It fails for parameters that CloudFormation refuses, and for a reference
    to a resource that is not made."""
    template, values = expand(path, **parameters)
    return resolve(template, values)


def outputs(path, **parameters):
    """The values of the template's outputs."""
    template, values = expand(path, **parameters)
    return resolve(template, values, "Outputs")


def expand(path, **parameters):
    """The template as SAM expands it for these parameters, and the values of all parameters."""
    with open(path) as file:
        source = yaml_parse(file.read())
    values = check(source, parameters)
    # What `sam package` does.
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    source.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    return Translator({}, Parser()).translate(source, values | PSEUDO), values


def check(source, parameters):
    """The values of all parameters of a template, checked by their constraints and by the rules, as CloudFormation does."""
    values = {name: str(p.get("Default", "")) for name, p in source["Parameters"].items()} | {k: str(v) for k, v in parameters.items()}
    for name, value in values.items():
        pattern = source["Parameters"][name].get("AllowedPattern")
        assert not pattern or re.fullmatch(pattern, value), f"{name}={value!r} does not match {pattern}"
        allowed = source["Parameters"][name].get("AllowedValues", [value])
        assert value in map(str, allowed), f"{name}={value!r} is none of {allowed}"
    walk = resolver(source, values, made=())
    for rule in source.get("Rules", {}).values():
        if walk(rule.get("RuleCondition", True)):
            for assertion in rule["Assertions"]:
                assert walk(assertion["Assert"]), assertion["AssertDescription"]
    return values


def resolver(template, values, made):
    """A function that resolves a part of the template, which may refer to the resources in made."""
    conditions, mappings, known = template.get("Conditions", {}), template.get("Mappings", {}), PSEUDO | values

    def holds(name):
        return walk(conditions[name])

    def resource(name):
        assert name in made, f"a reference to {name}, which is not made with {values}"
        return name

    def walk(node):
        if isinstance(node, list):
            return [item for item in map(walk, node) if item is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, of), = node.items()
            match function:
                case "Ref":
                    return NOTHING if of == "AWS::NoValue" else known[of] if of in known else resource(of)
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
                case "Fn::GetAZs":
                    return [PSEUDO["AWS::Region"] + letter for letter in "abc"]
                case "Fn::Cidr":
                    block, count, bits = walk(of)
                    subnets = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
                    return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
                case "Fn::Join":
                    return of[0].join(map(str, walk(of[1])))
                case "Fn::FindInMap":
                    mapping, key, name = map(walk, of)
                    return mappings[mapping][key][name]
                case "Fn::GetAtt":
                    name = of if isinstance(of, str) else ".".join(of)
                    resource(name.split(".")[0])
                    return "${" + name + "}"
                case "Fn::Sub":
                    text, more = (of, {}) if isinstance(of, str) else (of[0], walk(of[1]))

                    def value(match):
                        name = match[1]
                        if name in more or name in known:
                            return str(more[name] if name in more else known[name])
                        resource(name.split(".")[0])
                        return match[0] if "." in name else name

                    return re.sub(r"\$\{([^}!]+)\}", value, text)
        return {k: v for k, v in ((k, walk(v)) for k, v in node.items()) if v is not NOTHING}

    return walk


def resolve(template, values, section="Resources"):
    """The resources that are made with these parameters, resolved; or the outputs."""
    def has(part):
        return "Condition" not in part or walk({"Condition": part["Condition"]})

    walk = resolver(template, values, made=())
    made = {name for name, r in template["Resources"].items() if has(r)}
    walk = resolver(template, values, made)
    if section == "Outputs":
        return {name: walk(output["Value"]) for name, output in template["Outputs"].items() if has(output)}
    # A condition and a dependency are names, not functions.
    return {
        name: {"Type": r["Type"], "DependsOn": r.get("DependsOn", []), "DeletionPolicy": r.get("DeletionPolicy"),
               "UpdateReplacePolicy": r.get("UpdateReplacePolicy"), "UpdatePolicy": walk(r.get("UpdatePolicy", {})),
               "Properties": walk(r.get("Properties", {}))}
        for name, r in template["Resources"].items() if name in made
    }


def with_defaults(path, values):
    """The template's text with other defaults of parameters."""
    text = path.read_text()
    for name, value in values.items():
        text, count = re.subn(rf"(\n  {name}:\n    Type: .*\n    Default: ).*", lambda match: match[1] + json.dumps(value), text)
        assert count == 1, name
    return text


def of_type(resources, kind):
    """The properties of the resources of this type, by logical id."""
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}
