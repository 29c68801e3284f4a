"""The certificates: who they name, what they are good for, and that nobody else reads the keys."""

import base64
import datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tests.cluster import pki

NODES = {"node1": "10.200.0.1", "node2": "10.200.0.2"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster") / "pki"
    pki.create(path, server="10.200.0.10", service="10.96.0.1", nodes=NODES)
    return path


def certificate(directory: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())


def subject(directory: Path, name: str) -> dict[str, str]:
    words = {NameOID.COMMON_NAME: "CN", NameOID.ORGANIZATION_NAME: "O"}
    attributes = certificate(directory, name).subject
    return {words[attribute.oid]: str(attribute.value) for attribute in attributes}


def usages(directory: Path, name: str) -> set[x509.ObjectIdentifier]:
    extension = certificate(directory, name).extensions.get_extension_for_class(
        x509.ExtendedKeyUsage
    )
    return set(extension.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("admin", {"CN": "admin", "O": "system:masters"}),
        ("to-kubelet", {"CN": "kube-apiserver-kubelet-client", "O": "system:masters"}),
        ("node1", {"CN": "system:node:node1", "O": "system:nodes"}),
        ("node2", {"CN": "system:node:node2", "O": "system:nodes"}),
        ("kube-scheduler", {"CN": "system:kube-scheduler"}),
        ("kube-controller-manager", {"CN": "system:kube-controller-manager"}),
        ("kube-proxy", {"CN": "system:kube-proxy"}),
        ("coredns", {"CN": "system:coredns"}),
        ("front-proxy", {"CN": "front-proxy-client"}),
    ],
)
def test_each_component_is_whom_rbac_expects(
    directory: Path, name: str, expected: dict[str, str]
) -> None:
    assert subject(directory, name) == expected


def test_only_servers_may_serve(directory: Path) -> None:
    for name in ("apiserver", "node1", "node2"):
        assert ExtendedKeyUsageOID.SERVER_AUTH in usages(directory, name)
    for name in ("admin", "kube-proxy", "to-kubelet", "coredns"):
        assert usages(directory, name) == {ExtendedKeyUsageOID.CLIENT_AUTH}


def test_the_api_server_is_trusted_by_each_of_its_names_and_no_other(directory: Path) -> None:
    store = Store([certificate(directory, "ca")])
    builder = PolicyBuilder().store(store)
    names = certificate(directory, "apiserver").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )

    builder.build_server_verifier(x509.DNSName("kubernetes.default.svc")).verify(
        certificate(directory, "apiserver"), []
    )
    with pytest.raises(VerificationError):
        builder.build_server_verifier(x509.DNSName("example.org")).verify(
            certificate(directory, "apiserver"), []
        )
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert {str(one) for one in addresses} == {"127.0.0.1", "10.200.0.10", "10.96.0.1"}


def test_certificates_end_within_a_month_and_are_valid_now(directory: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for name in ("ca", "apiserver", "admin"):
        one = certificate(directory, name)
        assert one.not_valid_before_utc < now < one.not_valid_after_utc
        assert one.not_valid_after_utc < now + datetime.timedelta(days=31)


def test_keys_are_their_owner_s_alone_and_fit_their_certificates(directory: Path) -> None:
    for path in directory.glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    key = load_pem_private_key((directory / "node1.key").read_bytes(), password=None)
    assert key.public_key() == certificate(directory, "node1").public_key()
    assert (
        certificate(directory, "node1").public_key() != certificate(directory, "node2").public_key()
    )


def test_a_kubeconfig_needs_no_other_file(directory: Path) -> None:
    config = yaml.safe_load((directory / "node1.kubeconfig").read_text())
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]

    assert cluster["server"] == "https://10.200.0.10:6443"
    assert (
        base64.b64decode(user["client-certificate-data"]) == (directory / "node1.crt").read_bytes()
    )
    assert str(directory) not in (directory / "node1.kubeconfig").read_text()


def test_two_authorities_do_not_trust_each_other(directory: Path, tmp_path: Path) -> None:
    pki.Authority(tmp_path / "other")
    other = x509.load_pem_x509_certificate((tmp_path / "other/ca.crt").read_bytes())
    verifier = PolicyBuilder().store(Store([other])).build_client_verifier()

    with pytest.raises(VerificationError):
        verifier.verify(certificate(directory, "admin"), [])
