"""The definition is the model's, and one that an API server takes. (That it does: tests/e2e.)"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.controller.helpers import manifest
from wangell_controller import cli
from wangell_controller.kube.crd import crd, crd_yaml
from wangell_controller.model import WangellService

COMMITTED = Path(__file__).parents[2] / "deploy/kustomize/base/crd.yaml"
# https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
STRUCTURAL = {
    *("type", "format", "description", "properties", "required", "items", "enum", "default"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties"),
    *("pattern", "additionalProperties", "anyOf", "x-kubernetes-int-or-string"),
    *("x-kubernetes-list-map-keys", "x-kubernetes-list-type"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
}
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC = SCHEMA["properties"]["spec"]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path or ".", schema
    for name, each in schema.get("properties", {}).items():
        yield from fields(each, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from fields(schema[name], f"{path}[]")


def test_the_committed_definition_is_what_the_model_makes() -> None:
    assert COMMITTED.read_text() == crd_yaml(), (
        "the model has changed: wangell-controller crd > deploy/kustomize/base/crd.yaml"
    )


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["crd"]) == 0
    assert capsys.readouterr().out == crd_yaml()


def test_it_is_named_as_published() -> None:
    assert crd()["metadata"]["name"] == "wangellservices.wangell.loutres.me"
    names = crd()["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["wsvc"], ["all"])
    (version,) = crd()["spec"]["versions"]
    assert version["name"] == "v1alpha1"
    assert set(version["subresources"]) == {"status", "scale"}


def test_columns_show_fields_that_there_are() -> None:
    (version,) = crd()["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        steps = column["jsonPath"].partition("[")[0].strip(".").split(".")
        if steps[0] == "metadata":
            continue
        place = SCHEMA
        for step in steps:
            place = place["properties"][step]


@pytest.mark.parametrize(("path", "schema"), list(fields(SCHEMA)), ids=lambda each: str(each)[:40])
def test_the_schema_is_structural(path: str, schema: dict[str, Any]) -> None:
    assert set(schema) <= STRUCTURAL
    if "anyOf" in schema:
        assert schema["x-kubernetes-int-or-string"] is True
    else:
        assert isinstance(schema["type"], str), path
    assert schema.get("default", ...) is not None


@pytest.mark.parametrize(("path", "schema"), list(fields(SPEC)), ids=lambda each: str(each)[:40])
def test_every_field_is_explained_and_bounded(path: str, schema: dict[str, Any]) -> None:
    if not path.endswith("[]"):
        assert schema["description"].endswith("."), path
    bound = {"string": "maxLength", "array": "maxItems", "integer": "maximum"}
    kind = schema.get("type", "")
    if kind in bound and "enum" not in schema:
        assert bound[kind] in schema, path


def test_every_rule_has_a_message() -> None:
    rules = [
        rule for _, each in fields(SCHEMA) for rule in each.get("x-kubernetes-validations", ())
    ]
    assert len(rules) >= 8
    assert all(rule["message"] and rule["rule"] for rule in rules)


def test_what_must_be_said_is_what_is_published() -> None:
    assert SPEC["required"] == ["idleTimeout", "image", "targetPort", "port"]
    assert set(manifest()["spec"]) == set(SPEC["required"])
    assert set(manifest()["status"]) <= set(SCHEMA["properties"]["status"]["properties"])


def test_defaults_are_the_models() -> None:
    spec = WangellService.model_validate(manifest()).spec
    defaults = {
        name: each["default"] for name, each in SPEC["properties"].items() if "default" in each
    }
    assert defaults == {
        "replicas": spec.replicas,
        "activationTimeout": spec.activation_timeout_s,
        "serviceType": spec.service_type,
        "imagePullPolicy": spec.image_pull_policy,
    }


@pytest.mark.parametrize("name", sorted(SPEC["properties"]))
def test_numbers_end_where_the_model_ends(name: str) -> None:
    schema = SPEC["properties"][name]
    if schema.get("type") != "integer":
        return
    for value in (schema["minimum"], schema["maximum"]):
        WangellService.model_validate(manifest(**{f"spec__{name}": value}))
    for value in (schema["minimum"] - 1, schema["maximum"] + 1):
        with pytest.raises(ValidationError):
            WangellService.model_validate(manifest(**{f"spec__{name}": value}))


def test_the_file_is_yaml_that_says_where_it_comes_from() -> None:
    text = COMMITTED.read_text()
    assert text.startswith("# Made from the model:")
    assert yaml.safe_load(text) == crd()
