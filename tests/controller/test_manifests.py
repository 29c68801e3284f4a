"""A manifest is right, or every wrong field is named with its path, all at once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controller.helpers import PUBLISHED, manifest
from wangell_controller.documents import FILE_BYTES_MAX
from wangell_controller.manifests import ManifestError, read_manifests
from wangell_controller.model import WangellService, rfc3339

SAMPLE = Path(__file__).parents[2] / "samples/serverless-example.yaml"


def written(directory: Path, *documents: Any, name: str = "manifests.yaml") -> Path:
    file = directory / name
    file.write_text(yaml.safe_dump_all(documents))
    return file


def problems(*paths: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifests(paths)
    return [line.removeprefix(f"{paths[0]}: ") for line in str(caught.value).splitlines()]


def test_the_sample_is_the_published_manifest_verbatim() -> None:
    assert SAMPLE.read_text() == PUBLISHED


def test_the_published_manifest_is_read_whole() -> None:
    service = read_manifests([SAMPLE])["default/serverless-example"]
    assert service.spec.idle_timeout_s == 1800
    assert service.spec.image == "registry.loutres.me/helloworld-go:latest"
    assert (service.spec.port, service.spec.target_port) == (80, 8080)
    assert service.status is not None
    assert service.status.latest_request == datetime(2024, 11, 16, 16, 29, 14, tzinfo=UTC)
    assert service.status.load_balancer_ip == "10.46.100.105"
    assert service.status.replicas == 0


def test_what_was_read_is_written_back_the_same() -> None:
    service = WangellService.model_validate(manifest())
    moment = datetime(2024, 11, 16, 16, 29, 14, tzinfo=UTC)
    assert service.model_dump(by_alias=True, exclude_unset=True) == manifest(
        status__latestRequest=moment
    )
    assert rfc3339(moment) == "2024-11-16T16:29:14Z"


def test_status_is_optional_and_so_is_the_namespace(tmp_path: Path) -> None:
    file = written(tmp_path, manifest(status=..., metadata__namespace=...))
    assert list(read_manifests([file])) == ["default/serverless-example"]


def test_a_timestamp_may_stand_without_quotes(tmp_path: Path) -> None:
    file = tmp_path / "unquoted.yaml"
    file.write_text(PUBLISHED.replace('"2024-11-16T16:29:14Z"', "2024-11-16T16:29:14Z"))
    service = read_manifests([file])["default/serverless-example"]
    assert service.status is not None
    assert service.status.latest_request == datetime(2024, 11, 16, 16, 29, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("apiVersion", "wangell.loutres.me/v1", "apiVersion: should be 'wangell.loutres"),
        ("kind", "Service", "kind: should be 'WangellService'"),
        ("metadata__name", "Upper", "metadata.name: should be lower-case letters"),
        ("metadata__name", "1st", "metadata.name: should be lower-case letters"),
        ("metadata__name", "ends-", "metadata.name: should be lower-case letters"),
        ("metadata__name", "new\nline", "metadata.name: should be lower-case letters"),
        ("metadata__name", "x" * 64, "metadata.name: String should have at most 63 characters"),
        ("metadata__name", "", "metadata.name: String should have at least 1 character"),
        ("metadata__namespace", "a.b", "metadata.namespace: should be lower-case letters"),
        ("metadata__labels", {}, "metadata.labels: no such field"),
        ("spec__idleTimeout", 0, "spec.idleTimeout: should be greater than or equal to 1"),
        ("spec__idleTimeout", 1_800_000_000, "spec.idleTimeout: should be less than or equal to"),
        ("spec__idleTimeout", "30m", "spec.idleTimeout: should be a valid integer"),
        ("spec__idleTimeout", 1.5, "spec.idleTimeout: should be a valid integer"),
        ("spec__image", "", "spec.image: String should have at least 1 character"),
        ("spec__image", "has space", "spec.image: should be an image reference"),
        ("spec__image", "app:tag:tag", "spec.image: should be an image reference"),
        ("spec__image", "a" * 600, "spec.image: String should have at most 520 characters"),
        ("spec__port", 0, "spec.port: should be greater than or equal to 1, got 0"),
        ("spec__port", 65536, "spec.port: should be less than or equal to 65535, got 65536"),
        ("spec__port", "80", "spec.port: should be a valid integer, got '80'"),
        ("spec__port", True, "spec.port: should be a valid integer, got True"),
        ("spec__targetPort", ..., "spec.targetPort: missing; it is required"),
        ("spec__replicsa", 1, "spec.replicsa: no such field (did you mean replicas?)"),
        ("spec__replicas", -1, "spec.replicas: should be greater than or equal to 0, got -1"),
        ("spec__replicas", 251, "spec.replicas: should be less than or equal to 250, got 251"),
        ("spec__activationTimeout", 0, "spec.activationTimeout: should be greater than or equal"),
        ("spec__activationTimeout", 3601, "spec.activationTimeout: should be less than or equal"),
        ("spec__serviceType", "ExternalName", "spec.serviceType: should be 'LoadBalancer', "),
        ("spec__loadBalancerClass", "a b", "spec.loadBalancerClass: should be a class such as"),
        ("spec__loadBalancerSourceRanges", ["10.0.0.300/8"],
         "spec.loadBalancerSourceRanges[0]: should be an IPv4 network such as"),
        ("spec__loadBalancerSourceRanges", ["10.0.0.0/8", "fd00::/8"],
         "spec.loadBalancerSourceRanges[1]: should be an IPv4 network such as"),
        ("spec__loadBalancerSourceRanges", ["10.46.0.7/16"],
         "spec.loadBalancerSourceRanges[0]: has bits behind its prefix: write 10.46.0.0/16"),
        ("spec__loadBalancerSourceRanges", ["203.0.113.7"],
         "spec.loadBalancerSourceRanges[0]: should be an IPv4 network such as"),
        ("spec__loadBalancerSourceRanges", [],
         "spec.loadBalancerSourceRanges: List should have at least 1 item"),
        ("spec__loadBalancerSourceRanges", ["10.0.0.0/8"] * 65,
         "spec.loadBalancerSourceRanges: List should have at most 64 items"),
        ("spec__env", [{"name": "A=B"}], "spec.env[0].name: should be the name of a variable"),
        ("spec__env", [{"name": "A"}, {"name": "A"}], "spec.env: name 'A' is given twice"),
        ("spec__env", [{"name": "A", "value": "1", "valueFrom": {}}],
         "spec.env[0]: should have value or valueFrom, not both"),
        ("spec__env", [{"name": "A", "value": 1}], "spec.env[0].value: should be a valid string"),
        ("spec__command", "sh -c true", "spec.command: should be a valid list"),
        ("spec__resources", {"limits": {"cpu": "much"}}, "spec.resources.limits.cpu"),
        ("spec__imagePullPolicy", "Sometimes", "spec.imagePullPolicy: should be 'Always'"),
        ("spec__imagePullSecrets", [{"name": "A_B"}], "spec.imagePullSecrets[0].name: should be"),
        ("spec__serviceAccountName", "", "spec.serviceAccountName: String should have at least"),
        ("spec__template", {"spec": []}, "spec.template.spec: should be a map of fields, got []"),
        ("spec__template", {"metadata": {"labels": {"wangell.loutres.me/service": "x"}}},
         "spec.template.metadata: the label wangell.loutres.me/service is the controller's own"),
        ("spec", ..., "spec: missing; it is required"),
        ("spec", 5, "spec: should be a map of fields, got 5"),
        ("status__latestRequest", 5, "status.latestRequest: should be a time such as"),
        ("status__latestRequest", "yesterday", "status.latestRequest: should be a valid datetime"),
        ("status__latestRequest", "2024-11-16T16:29:14", "status.latestRequest: should have time"),
        ("status__loadBalancerIP", "10.0.0.300", "status.loadBalancerIP: should be an IPv4"),
        ("status__loadBalancerIP", 80, "status.loadBalancerIP: should be an IP address in quotes"),
        ("status__replicas", -1, "status.replicas: should be greater than or equal to 0"),
        ("metdata", {}, "metdata: no such field (did you mean metadata?)"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_path(
    tmp_path: Path, field: str, value: Any, message: str
) -> None:
    found = problems(written(tmp_path, manifest(**{field: value})))
    assert len(found) == 1, "one wrong field, one line"
    assert found[0].startswith(message)


@pytest.mark.parametrize("kind", ["NodePort", "ClusterIP"])
def test_source_ranges_are_a_load_balancers(tmp_path: Path, kind: str) -> None:
    ranges = manifest(spec__serviceType=kind, spec__loadBalancerSourceRanges=["10.0.0.0/8"])
    (found,) = problems(written(tmp_path, ranges))
    assert "loadBalancerSourceRanges is for serviceType LoadBalancer alone: leave it out" in found


def test_all_wrong_fields_are_named_at_once(tmp_path: Path) -> None:
    wrong = manifest(spec__port=0, spec__image="A B", metadata__name="X", spec__tragetPort=1)
    paths = [line.partition(": ")[0] for line in problems(written(tmp_path, wrong))]
    assert paths == ["metadata.name", "spec.image", "spec.port", "spec.tragetPort"]


def test_all_documents_of_all_files_are_judged_at_once(tmp_path: Path) -> None:
    first = written(tmp_path, manifest(), manifest(metadata__name="b", spec__port=0), name="1.yaml")
    second = written(tmp_path, manifest(metadata__name="c", kind="Pod"), name="2.yaml")
    with pytest.raises(ManifestError) as caught:
        read_manifests([first, second])
    assert str(caught.value).splitlines() == [
        f"{first} (document 2): spec.port: should be greater than or equal to 1, got 0",
        f"{second}: kind: should be 'WangellService', got 'Pod'",
    ]


def test_several_documents_and_a_directory_are_read(tmp_path: Path) -> None:
    written(tmp_path, manifest(), manifest(metadata__name="b"), name="1.yaml")
    written(tmp_path, manifest(metadata__namespace="other"), name="2.yml")
    (tmp_path / "README").write_text("not a manifest")
    assert list(read_manifests([tmp_path])) == [
        "default/serverless-example",
        "default/b",
        "other/serverless-example",
    ]


def test_a_name_declared_twice_says_where_both_are(tmp_path: Path) -> None:
    file = written(tmp_path, manifest(), manifest(spec__port=81))
    with pytest.raises(ManifestError) as caught:
        read_manifests([file])
    assert str(caught.value) == (
        f"{file} (document 2): default/serverless-example is in {file} (document 1) too:"
        " rename or remove one"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [1", "not YAML: "),
        (b"a: 1\na: 2", "not YAML: the key 'a' is given twice"),
        (b"spec: {port: 1, port: 2}", "not YAML: the key 'port' is given twice"),
        (b"\xff\xfe", "not YAML: not UTF-8 at byte 0"),
        (b"a: 2024-13-45", "not YAML: month must be in 1..12"),
        (b"!!python/object:os.system {}", "not YAML: could not determine a constructor"),
        (b"[" * 100_000, "not YAML: nested too deeply"),
        (b"", "empty: it declares nothing"),
        (b"--- \n--- \n", "empty: it declares nothing"),
        (b"just text", "expected a map of fields, got str"),
        (b"- 1", "expected a map of fields, got list"),
        (b"#" * (FILE_BYTES_MAX + 1), f"larger than {FILE_BYTES_MAX} bytes: split it"),
    ],
)
def test_a_file_that_is_no_manifest_says_why(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(text)
    found = problems(file)
    assert len(found) == 1
    assert found[0].startswith(message)


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(PUBLISHED.encode() + b"#" * (FILE_BYTES_MAX - len(PUBLISHED)))
    assert list(read_manifests([file])) == ["default/serverless-example"]


def test_a_missing_file_and_an_empty_directory_say_so(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == ["cannot be read: No such file or directory"]
    assert problems(tmp_path) == ["no *.yaml or *.yml in this directory"]


def test_hostile_keys_reach_no_terminal_and_no_page_is_filled(tmp_path: Path) -> None:
    hostile = manifest(**{"\x1b[31mred": 1, "k" * 5000: "v" * 5000})
    found = problems(written(tmp_path, hostile))
    assert found[0].startswith("\\x1b[31mred: no such field")
    assert all(len(line) < 300 for line in found)
    many = [manifest(metadata__name=f"s{n}", spec__port=0) for n in range(60)]
    with pytest.raises(ManifestError, match=r"\.\.\. and 10 more$"):
        read_manifests([written(tmp_path, *many)])


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "localhost:5000/a/b_c/d__e:v1",
        "registry.example:443/team/app@sha256:" + "0" * 64,
        "registry.example/app:1@sha256:" + "f" * 64,
    ],
)
def test_every_form_of_image_reference_is_taken(image: str) -> None:
    assert WangellService.model_validate(manifest(spec__image=image)).spec.image == image


def test_addresses_come_out_in_one_form() -> None:
    service = WangellService.model_validate(manifest(status__loadBalancerIP="2001:DB8:0:0::1"))
    assert service.status is not None
    assert service.status.load_balancer_ip == "2001:db8::1"
