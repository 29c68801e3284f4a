"""The images: archives, the Dockerfiles that describe the same, pods that run them."""

import functools
import hashlib
import json
import re
import shlex
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deploy.images import build, oci, product, root
from tests.cluster.cluster import Cluster
from tests.cluster.kubectl import KubectlError

pytestmark = pytest.mark.timeout(900)
IMAGES = Path(build.__file__).parent


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with a bit of everything that a layer must keep."""
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    (top / "etc/motd").write_text("hello")
    (top / "etc/link").symlink_to("motd")
    (top / "bin").mkdir()
    (top / "bin/true").write_bytes(b"\x7fELF")
    (top / "bin/true").chmod(0o4755)
    return top


def blobs(archive: Path) -> dict[str, bytes]:
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None, f"{member.name} is no file"
            found[member.name] = file.read()
    return found


def follow(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """The blob of a descriptor, which has the size and the digest that the descriptor says."""
    algorithm, _, digest = descriptor["digest"].partition(":")
    blob = files[f"blobs/{algorithm}/{digest}"]
    assert len(blob) == descriptor["size"]
    assert hashlib.sha256(blob).hexdigest() == digest
    return blob


def test_every_blob_of_an_archive_is_found_by_its_digest(tree: Path, tmp_path: Path) -> None:
    layer = oci.layer_of_root(tmp_path / "layer", tree)
    image = oci.Image(name="a.b/c:tag", layers=[layer], entrypoint=["/bin/true"], user="7")

    files = blobs(oci.write_archive(image, tmp_path / "image.tar"))
    index = json.loads(files["index.json"])
    manifest = json.loads(follow(files, index["manifests"][0]))
    config = json.loads(follow(files, manifest["config"]))
    follow(files, manifest["layers"][0])

    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == "a.b/c:tag"
    assert config["config"]["Entrypoint"] == ["/bin/true"]
    assert config["config"]["User"] == "7"
    assert config["rootfs"]["diff_ids"] == [layer.digest]
    assert not list(tmp_path.glob("*.partial"))


def test_a_layer_keeps_modes_links_and_owners_and_the_same_tree_gives_the_same_digest(
    tree: Path, tmp_path: Path
) -> None:
    first = oci.layer_of_root(tmp_path / "first", tree)
    second = oci.layer_of_root(tmp_path / "second", tree)

    with tarfile.open(first.path) as tar:
        members = {member.name: member for member in tar}
    assert first.digest == second.digest
    assert members["bin/true"].mode == 0o4755
    assert members["etc/link"].linkname == "motd"
    assert {member.uname for member in members.values()} == {""}


def test_what_a_runtime_makes_itself_is_not_in_a_layer(tree: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "etc/socket"))
        layer = oci.layer_of_root(tmp_path / "layer", tree)

    with tarfile.open(layer.path) as tar:
        assert "etc/socket" not in tar.getnames()


def test_the_key_of_a_root_changes_with_its_packages() -> None:
    assert root._key(["python3"]) != root._key(["python3", "python3-bpfcc"])
    assert root._key(["python3"]) == root._key(["python3"])


def test_an_unknown_image_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["build", "nginx"])

    with pytest.raises(SystemExit):
        build.main()

    assert "no image 'nginx': choose from pause, helloworld-go" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["controller", "daemon"])
def test_a_dockerfile_describes_what_the_builder_makes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    layer = oci.Layer(path=tmp_path, digest="sha256:0", size_bytes=0)

    def ask(what: str, value: object = None, **_: object) -> oci.Layer:
        asked[what] = value
        return layer

    monkeypatch.setattr(build, "debian_layer", functools.partial(ask, "apt"))
    monkeypatch.setattr(build, "dependencies_layer", functools.partial(ask, "extra"))
    monkeypatch.setattr(build, "product_layer", functools.partial(ask, "wheel"))

    image = build.CATALOGUE[name](tmp_path, print)
    dockerfile = (IMAGES / name / "Dockerfile").read_text().replace("\\\n", "")
    stage = dockerfile.rpartition("FROM ")[2]
    installed = re.search(r"--no-install-recommends (.*?) +&&", stage)

    assert stage.startswith(f"debian:{root.SUITE}-slim\n")
    assert installed is not None
    assert shlex.split(installed[1]) == asked["apt"]
    assert f"'/src[{asked['extra']}]'" in dockerfile
    assert f"\nUSER {image.user}\n" in stage
    variables = dict(re.findall(r"^ENV (\w+)=(\S+)$", stage, re.MULTILINE))
    assert variables == image.environment
    assert f"\nENTRYPOINT {json.dumps(list(image.entrypoint))}\n" in stage


def test_the_controller_s_requirements_are_pyproject_s_and_bring_no_bcc() -> None:
    """The bcc of PyPI is about mathematics."""
    for extra in ("controller", "daemon"):
        requirements = product._requirements(extra)
        assert any(one.startswith("msgpack") for one in requirements)
        assert not any(one.startswith("bcc") for one in requirements)


POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  hostNetwork: {host}
  hostPID: {host}
  securityContext: {{runAsNonRoot: {nonroot}, seccompProfile: {{type: Unconfined}}}}
  volumes:
    - {{name: tmp, emptyDir: {{}}}}
    - {{name: tracing, hostPath: {{path: /sys/kernel/tracing}}}}
  containers:
    - name: subject
      image: {image}
      imagePullPolicy: Never
      command: {command}
      volumeMounts:
        - {{name: tmp, mountPath: /tmp}}
        - {{name: tracing, mountPath: /sys/kernel/tracing}}
      securityContext:
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL], add: {capabilities}}}
"""
# Without SYS_ADMIN and SYS_PTRACE: those are for entering a pod's namespace, not for BPF.
CAPABILITIES = ["BPF", "PERFMON", "NET_ADMIN"]
COMPILE_ALL = """
from wangell_daemon.datapath.compiler import compile_program
from wangell_daemon.datapath.headers import EBPF
for path in EBPF.glob("*.bpf.c"):
    compile_program(path.name)
    print("compiled", path.name)
"""


def run_pod(cluster: Cluster, **values: Any) -> str:
    """What a pod prints that runs to its end."""
    name, succeeded = values["name"], "jsonpath={.status.phase}=Succeeded"
    pod = POD.format(**{key: json.dumps(value) for key, value in values.items()})
    cluster.apply(pod)
    try:
        cluster.wait_for(f"pod/{name}", succeeded, timeout_s=30)
    except KubectlError as error:
        error.add_note(cluster.kubectl("logs", name))
        raise
    else:
        return cluster.kubectl("logs", name)
    finally:
        cluster.delete(pod)


def test_the_controller_s_image_starts_as_nobody_on_a_read_only_root(cluster: Cluster) -> None:
    cluster.import_image(build.build("controller"))

    printed = run_pod(
        cluster,
        name="controller",
        image=build.CONTROLLER,
        command=["/usr/local/bin/wangell-controller", "--help"],
        host=False,
        nonroot=True,
        capabilities=[],
    )

    assert "usage: wangell-controller" in printed


def test_the_daemon_s_image_compiles_every_program_on_a_node_without_headers(
    cluster: Cluster,
) -> None:
    cluster.import_image(build.build("daemon"))

    printed = run_pod(
        cluster,
        name="daemon",
        image=build.DAEMON,
        command=["/usr/bin/python3", "-c", COMPILE_ALL],
        host=True,
        nonroot=False,
        capabilities=CAPABILITIES,
    )

    assert "compiled wake.bpf.c" in printed
    assert "compiled listen.bpf.c" in printed
