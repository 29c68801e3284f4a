"""etcd, the API server, its controllers, the scheduler and DNS: on no node of the cluster."""

from collections.abc import Mapping
from pathlib import Path

from tests.cluster import network
from tests.cluster.configuration import TEMPLATES, fill
from tests.cluster.namespaces import Namespaces
from tests.cluster.process import Process
from tests.cluster.waiting import until

READY_TIMEOUT_S = 30.0


class ControlPlane:
    """Its processes by name: a test may stop, kill or start each of them again."""

    def __init__(self, namespaces: Namespaces, *, directory: Path, binaries: Path) -> None:
        self.namespaces = namespaces
        self._directory = directory
        self._pki = directory / "pki"
        commands = {
            "etcd": [f"--config-file={self._fill('etcd.yaml')}"],
            "kube-apiserver": self._api_server_flags(),
            "kube-controller-manager": self._controller_manager_flags(),
            "kube-scheduler": self._client_flags("kube-scheduler"),
            "coredns": [f"-conf={self._fill('Corefile')}"],
        }
        self.processes: Mapping[str, Process] = {
            name: namespaces.process(name, [binaries / name, *flags])
            for name, flags in commands.items()
        }

    def start_api_server(self) -> None:
        """Return once the API server listens: kubelets may come."""
        for name in ("etcd", "kube-apiserver"):
            self.processes[name].start(ready_timeout_s=READY_TIMEOUT_S)

    def start_controllers(self) -> None:
        """Start the rest once RBAC has its own roles: without them controllers give up."""
        until(self._api_server_is_ready, "the API server's /readyz", timeout_s=READY_TIMEOUT_S)
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.processes[name].start()

    def _api_server_is_ready(self) -> bool:
        admin = ["--cert", f"{self._pki}/admin.crt", "--key", f"{self._pki}/admin.key"]
        trust = ["--noproxy", "*", "--cacert", f"{self._pki}/ca.crt"]
        url = f"https://{network.CONTROL_PLANE}:6443/readyz"
        try:
            self.namespaces.run("curl", "-sf", *trust, *admin, url)
        except RuntimeError:
            return False
        return True

    def _fill(self, template: str) -> Path:
        return fill(
            template,
            self._directory / template,
            directory=self._directory,
            pki=self._pki,
            address=network.CONTROL_PLANE,
        )

    def _api_server_flags(self) -> list[str]:
        pki = self._pki
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={network.CONTROL_PLANE}",
            f"--service-cluster-ip-range={network.SERVICE_RANGE}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/to-kubelet.crt",
            f"--kubelet-client-key={pki}/to-kubelet.key",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
            f"--requestheader-client-ca-file={pki}/ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ]

    def _controller_manager_flags(self) -> list[str]:
        return [
            *self._client_flags("kube-controller-manager"),
            f"--cluster-signing-cert-file={self._pki}/ca.crt",
            f"--cluster-signing-key-file={self._pki}/ca.key",
            f"--root-ca-file={self._pki}/ca.crt",
            f"--service-account-private-key-file={self._pki}/sa.key",
            "--use-service-account-credentials=true",
            # With the default of 20 a second, its forty controllers take 5 s to get their tokens.
            "--kube-api-qps=100",
            "--kube-api-burst=200",
            # Four leases of a kubelet's (conf/kubelet.yaml), as its default of 50 s is five.
            "--node-monitor-grace-period=20s",
        ]

    def _client_flags(self, component: str) -> list[str]:
        kubeconfig = f"{self._pki}/{component}.kubeconfig"
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            # There is one of each; an election would add its lease's seconds to every start.
            "--leader-elect=false",
        ]


DNS_RIGHTS = TEMPLATES / "coredns.yaml"
