#!/usr/bin/env python3
"""Holds rendered Kubernetes objects, on standard input, against the schemas of Kubernetes and of KEDA, unknown fields included.

    helm template … | scripts/check-objects.py TOOLS

TOOLS is the folder that scripts/setup-tools.sh fills: the schemas of Kubernetes as the package kubernetes-validate, those of
KEDA as the definitions of its own kinds.
"""

import pathlib
import sys

VERSIONS = ("1.30", "1.37")
tools = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(next(tools.glob("kubernetes-validate-*"))))

import jsonschema  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402


def strict(schema):
    """Refuses what a schema does not name, as Kubernetes does not."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def keda():
    """The schema of each kind of KEDA by its version and name."""
    found = {}
    for file in next(tools.glob("keda-*")).glob("*.yaml"):
        spec = yaml.safe_load(file.read_text())["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def faults(thing, kinds):
    own = kinds.get((thing["apiVersion"], thing["kind"]))
    if own is not None:
        return [error.message for error in jsonschema.Draft202012Validator(own).iter_errors(thing)]
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"by {version}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            found.append(f"{version} has no {thing['apiVersion']} {thing['kind']}")
    return found


def main():
    kinds = keda()
    things = [thing for thing in yaml.safe_load_all(sys.stdin) if thing]
    wrong = [
        f"{thing['kind']} {thing['metadata']['name']}: {fault}" for thing in things for fault in faults(thing, kinds)
    ]
    if not things:
        wrong.append("nothing was rendered")
    print("\n".join(wrong) or f"{len(things)} objects hold")
    sys.exit(1 if wrong else 0)


main()
