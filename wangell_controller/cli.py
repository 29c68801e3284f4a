"""wangell-controller: owns the services, wakes them on a daemon's word, takes idle ones to zero."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from wangell_controller.keys import KeyFileError, generate_keys
from wangell_controller.kube.crd import crd_yaml
from wangell_controller.link import SupersededError
from wangell_controller.manifests import ManifestError, read_manifests
from wangell_controller.options import MANIFESTS_HELP, add_run, kube_settings, local_settings
from wangell_controller.run import run
from wangell_controller.run_directory import RunDirectoryError

__all__ = ["main"]

EXAMPLE = """\
example, on one host:
  wangell-controller keygen /etc/wangell
  wangell-controller validate samples/serverless-example.yaml
  wangell-controller run --manifests samples/ --local local.yaml \\
      --listen 10.46.100.3:7946 --key-dir /etc/wangell

where local.yaml says what to start in place of each image, and in which network namespace:
  services:
    default/serverless-example:
      command: [/usr/local/bin/helloworld]   # finds its port in $PORT
      netns: /run/netns/pod1
      address: 10.244.0.5                    # its own, in that namespace
      node: node1                            # whose daemon sees it listen
      frontend: 10.46.100.105                # what callers use

Each node runs wangell-daemon with the same psk and controller.pub. SIGHUP reads manifests and
local.yaml again: if anything in them is wrong, nothing changes. SIGTERM stops the servers; those of
a controller that was killed live on, and the next one with the same --run-dir adopts them.

Start a second one with the same --run-dir and another --listen address, and name both to every
daemon: it stands by, and leads as soon as the first one ends. The servers then stay as they are.

On Kubernetes it is run by the manifests of deploy/kustomize:
  wangell-controller run --backend kube --listen 0.0.0.0:7946
and `wangell-controller crd` prints the definition of WangellServices.
"""


class ClusterError(ValueError):
    """The API server cannot be found, or will not do what is needed."""


FORESEEN = (ClusterError, KeyFileError, ManifestError, RunDirectoryError, SupersededError)


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns its exit status: 0, 1 with a message, or 2 for usage."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        arguments.command(arguments)
    except FORESEEN as error:
        return _failed(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:  # Before there was anything to end.
        return 1
    return 0


def _failed(message: str) -> int:
    for line in message.splitlines():
        print(f"wangell-controller: {line}", file=sys.stderr)  # noqa: T201
    return 1


def _run(arguments: argparse.Namespace) -> None:
    if arguments.backend == "kube":
        asyncio.run(_run_on_kubernetes(arguments))
        return
    if os.geteuid() != 0:
        raise PermissionError(
            1, "not root: starting servers in network namespaces needs it. Try: sudo ..."
        )
    asyncio.run(run(local_settings(arguments)))


async def _run_on_kubernetes(arguments: argparse.Namespace) -> None:
    # Its client takes 0.7 s and 50 MB to import, for nothing on one host.
    from wangell_controller.kube import life  # noqa: PLC0415

    try:
        await life.run(kube_settings(arguments))
    except (life.KubeError, life.NoClusterError) as error:
        raise ClusterError(str(error)) from error


def _crd(_: argparse.Namespace) -> None:
    print(crd_yaml(), end="")  # noqa: T201


def _keygen(arguments: argparse.Namespace) -> None:
    for path in generate_keys(arguments.directory):
        print(path)  # noqa: T201
    print("Give controller.pub and psk to every daemon; controller.key stays here.")  # noqa: T201


def _validate(arguments: argparse.Namespace) -> None:
    for key, service in read_manifests(arguments.paths).items():
        spec = service.spec
        print(f"{key}: port {spec.port} -> {spec.target_port}, zero after {spec.idle_timeout_s} s")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wangell-controller",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("run", help="serve until SIGTERM")
    add_run(serve)
    serve.set_defaults(command=_run)
    keygen = commands.add_parser("keygen", help="make the keys of controllers and daemons")
    keygen.add_argument("directory", metavar="DIR", type=Path, help="made where there is none")
    keygen.set_defaults(command=_keygen)
    validate = commands.add_parser("validate", help="say what is wrong in manifests")
    validate.add_argument("paths", metavar="PATH", nargs="+", type=Path, help=MANIFESTS_HELP)
    validate.set_defaults(command=_validate)
    definition = commands.add_parser("crd", help="print the CustomResourceDefinition")
    definition.set_defaults(command=_crd)
    return parser
