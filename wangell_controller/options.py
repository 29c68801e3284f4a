"""What `wangell-controller run` is told, for each backend."""

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wangell_controller.keys import read_keys
from wangell_controller.kube.resources import STARTUP_TAINT
from wangell_controller.settings import KubeSettings, Settings, parse_address, parse_seconds

__all__ = ["MANIFESTS_HELP", "add_run", "kube_settings", "local_settings"]

T = TypeVar("T")

MANIFESTS_HELP = "a YAML file with one or several WangellServices, or a directory of them"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Give the parser all that either backend takes."""
    parser.add_argument(
        "--backend",
        choices=("local", "kube"),
        default="local",
        help="what starts servers: this host (default), or the Kubernetes that we are in",
    )
    _add_common(parser)
    _add_local(parser.add_argument_group("with --backend local"))
    _add_kube(parser.add_argument_group("with --backend kube"))
    parser.set_defaults(usage=parser.error)


def local_settings(arguments: argparse.Namespace) -> Settings:
    """Return what the local backend's life is told. Exits where something is missing."""
    _require(arguments, "manifests", "local", "key_dir")
    return Settings(
        manifests=tuple(arguments.manifests),
        local=arguments.local,
        listen=arguments.listen,
        key_dir=arguments.key_dir,
        run_dir=arguments.run_dir,
        status_file=arguments.status_file,
        metrics_address=arguments.metrics_address,
        activation_timeout_s=arguments.activation_timeout,
    )


def kube_settings(arguments: argparse.Namespace) -> KubeSettings:
    """Return what the life on Kubernetes is told. Raises KeyFileError."""
    return KubeSettings(
        kubeconfig=arguments.kubeconfig,
        namespace=arguments.namespace,
        identity=arguments.identity,
        daemon_account=arguments.daemon_account,
        keys=None if arguments.key_dir is None else read_keys(arguments.key_dir),
        listen=arguments.listen,
        health_address=arguments.health_address,
        metrics_address=arguments.metrics_address,
        keeps_announced=arguments.placeholder_endpoints,
        removes_taint=arguments.remove_startup_taint,
    )


def _require(arguments: argparse.Namespace, *names: str) -> None:
    missing = [name for name in names if getattr(arguments, name) is None]
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        arguments.usage(f"the following arguments are required: {options}")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--listen",
        required=True,
        metavar="ADDRESS:PORT",
        type=_checked(parse_address),
        help="where daemons find this controller (UDP), such as 10.46.100.3:7946",
    )
    add(
        "--key-dir",
        metavar="DIR",
        type=Path,
        help="holds controller.key and psk, from `wangell-controller keygen`; without it, on"
        " Kubernetes, they are in Secrets, and made where there are none",
    )
    add(
        "--metrics-address",
        metavar="ADDRESS:PORT",
        type=_checked(parse_address),
        help="serve Prometheus metrics there; without it none are served",
    )


def _add_local(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--manifests", nargs="+", metavar="PATH", type=Path, help=MANIFESTS_HELP)
    add(
        "--local",
        metavar="FILE",
        type=Path,
        help="YAML or JSON: what to start for each service, and where",
    )
    add(
        "--run-dir",
        default=Path("/run/wangell-controller"),
        metavar="DIR",
        type=Path,
        help="remembers epoch and activations over a restart; controllers that share it stand by"
        " for each other (default: %(default)s)",
    )
    add(
        "--status-file",
        metavar="FILE",
        type=Path,
        help="write every service's manifest with its status there, as YAML",
    )
    add(
        "--activation-timeout",
        default=60.0,
        metavar="SECONDS",
        type=_checked(parse_seconds),
        help="a wake whose server does not listen by then fails, where the manifest does not say"
        " (default: 60)",
    )


def _add_kube(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="where the API server is; default: $KUBECONFIG, or the pod's own",
    )
    add(
        "--namespace",
        default=os.environ.get("POD_NAMESPACE", "wangell-system"),
        metavar="NAME",
        help="our own, where Lease and keys are (default: $POD_NAMESPACE, or wangell-system)",
    )
    add(
        "--identity",
        default=os.environ.get("POD_NAME", platform.node()),
        metavar="NAME",
        help="who we are, in Lease and Events (default: $POD_NAME, or the host's name)",
    )
    add(
        "--daemon-account",
        default="wangell-daemon",
        metavar="NAME",
        help="the ServiceAccount whose tokens daemons show (default: %(default)s)",
    )
    add(
        "--health-address",
        metavar="ADDRESS:PORT",
        type=_checked(parse_address),
        help="serve /healthz and /readyz there; without it neither is served",
    )
    add(
        "--placeholder-endpoints",
        action="store_true",
        help="give each service of type LoadBalancer an EndpointSlice with an endpoint that gets no"
        " traffic, so that MetalLB announces its address while it sleeps",
    )
    add(
        "--remove-startup-taint",
        action="store_true",
        help=f"take the taint {STARTUP_TAINT} off each node once its daemon holds what sleeps",
    )


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Argparse shows the message of its own error only; any other becomes `invalid value`."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed
