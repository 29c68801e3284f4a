"""A cluster that somebody else runs, given by $KUBECONFIG."""

import os
import shutil

from tests.cluster.client import Client
from tests.cluster.kubectl import Kubernetes


class GivenCluster(Kubernetes):
    """kubectl, and a client on this machine. Its nodes and images belong to its owner."""

    def __init__(self) -> None:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise RuntimeError("KUBECONFIG is set, but there is no kubectl in PATH to use it with")
        super().__init__([kubectl, f"--kubeconfig={os.environ['KUBECONFIG']}"])
        self.client = Client()
