"""The cluster's certificates and kubeconfigs, by an authority that lives as long as it does."""

import base64
import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# A cluster is made for a test run, or for an afternoon. An hour back: clocks inside are this
# machine's own.
LIFETIME = datetime.timedelta(days=30)
# In this group everything is allowed, whatever RBAC says.
MASTERS = "system:masters"
SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates into one directory, NAME.crt and NAME.key each; its own is ca.crt."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, mode=0o700)
        # The API server verifies who calls at each call: RSA's takes it a quarter of P-256's time.
        # Our own keys need none of it, and RSA's would take a second to make.
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        _write_key(directory / "ca.key", self._key)
        self._name = _subject("wangell-cluster", organization=None)
        self._not_before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        public_key = self._key.public_key()
        builder = (
            self._builder(self._name, public_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(SIGNS_CERTIFICATES, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )
        self._write("ca", builder)

    def issue(
        self,
        name: str,
        common_name: str,
        *,
        organization: str | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """Write NAME.crt and NAME.key: a client's certificate; a server's too with `hosts`."""
        key = new_key(self.directory / f"{name}.key")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = self._builder(
            _subject(common_name, organization=organization), key.public_key()
        ).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        self._write(name, builder)

    def write_kubeconfig(self, name: str, server: str) -> Path:
        """Write NAME.kubeconfig, whole in itself, and return its path."""
        read = {file: self._base64(file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")}
        user = {
            "client-certificate-data": read[f"{name}.crt"],
            "client-key-data": read[f"{name}.key"],
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "wangell",
                    "cluster": {"server": server, "certificate-authority-data": read["ca.crt"]},
                }
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "wangell", "context": {"cluster": "wangell", "user": name}}],
            "current-context": "wangell",
        }
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def _base64(self, file: str) -> str:
        return base64.b64encode((self.directory / file).read_bytes()).decode()

    def _builder(self, subject: x509.Name, key: PublicKey) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=self._not_before,
            not_valid_after=self._not_before + LIFETIME,
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            critical=False,
        )

    def _write(self, name: str, builder: x509.CertificateBuilder) -> None:
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        (self.directory / f"{name}.crt").write_bytes(pem)


def create(directory: Path, *, server: str, service: str, nodes: Mapping[str, str]) -> None:
    """Everything that the components of one cluster present to each other.

    `server` and `service` are the addresses of the API server outside and as a Service, `nodes`
    names to addresses.
    """
    authority = Authority(directory)
    url = f"https://{server}:6443"
    cluster_names = [
        f"kubernetes{end}" for end in ("", ".default", ".default.svc", ".default.svc.cluster.local")
    ]
    authority.issue(
        "apiserver",
        "kube-apiserver",
        hosts=["localhost", *cluster_names, "127.0.0.1", server, service],
    )
    authority.issue("to-kubelet", "kube-apiserver-kubelet-client", organization=MASTERS)
    authority.issue("front-proxy", "front-proxy-client")
    authority.issue("admin", "admin", organization=MASTERS)
    components = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
    for component in components:
        authority.issue(component, f"system:{component}")
    # CoreDNS runs in no pod here, and has a certificate in place of its ServiceAccount.
    authority.issue("coredns", "system:coredns")
    for node, address in nodes.items():
        authority.issue(
            node,
            f"system:node:{node}",
            organization="system:nodes",
            hosts=[node, address, "127.0.0.1"],
        )
    for name in ("admin", "coredns", *components, *nodes):
        authority.write_kubeconfig(name, url)
    _write_service_account_key(directory)


def new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new private key, written to `path` for its owner only."""
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(path, key)
    return key


def _write_key(path: Path, key: PrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)


def _write_service_account_key(directory: Path) -> None:
    public = new_key(directory / "sa.key").public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (directory / "sa.pub").write_bytes(pem)


def _subject(common_name: str, *, organization: str | None) -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(names)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
