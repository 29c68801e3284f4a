"""wangell-controller: owns the services, wakes them on a daemon's word, takes idle ones to zero."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wangell_controller.keys import KeyFileError, generate_keys
from wangell_controller.link import SupersededError
from wangell_controller.manifests import ManifestError, read_manifests
from wangell_controller.run import run
from wangell_controller.run_directory import RunDirectoryError
from wangell_controller.settings import Settings, parse_address, parse_seconds

__all__ = ["main"]

T = TypeVar("T")

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
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns its exit status: 0, 1 with a message, or 2 for usage."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        arguments.command(arguments)
    except (KeyFileError, ManifestError, RunDirectoryError, SupersededError) as error:
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
    if os.geteuid() != 0:
        raise PermissionError(
            1, "not root: starting servers in network namespaces needs it. Try: sudo ..."
        )
    asyncio.run(
        run(
            Settings(
                manifests=tuple(arguments.manifests),
                local=arguments.local,
                listen=arguments.listen,
                key_dir=arguments.key_dir,
                run_dir=arguments.run_dir,
                status_file=arguments.status_file,
                metrics_address=arguments.metrics_address,
                activation_timeout_s=arguments.activation_timeout,
            )
        )
    )


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
    _add_run(commands.add_parser("run", help="serve until SIGTERM"))
    keygen = commands.add_parser("keygen", help="make the keys of controllers and daemons")
    keygen.add_argument("directory", metavar="DIR", type=Path, help="made where there is none")
    keygen.set_defaults(command=_keygen)
    validate = commands.add_parser("validate", help="say what is wrong in manifests")
    validate.add_argument("paths", metavar="PATH", nargs="+", type=Path, help=_MANIFESTS_HELP)
    validate.set_defaults(command=_validate)
    return parser


_MANIFESTS_HELP = "a YAML file with one or several WangellServices, or a directory of them"


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--manifests",
        required=True,
        nargs="+",
        metavar="PATH",
        type=Path,
        help=_MANIFESTS_HELP,
    )
    add(
        "--local",
        required=True,
        metavar="FILE",
        type=Path,
        help="YAML or JSON: what to start for each service, and where",
    )
    add(
        "--listen",
        required=True,
        metavar="ADDRESS:PORT",
        type=_checked(parse_address),
        help="where daemons find this controller (UDP), such as 10.46.100.3:7946",
    )
    add(
        "--key-dir",
        required=True,
        metavar="DIR",
        type=Path,
        help="holds controller.key and psk, from `wangell-controller keygen`",
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
        "--metrics-address",
        metavar="ADDRESS:PORT",
        type=_checked(parse_address),
        help="serve Prometheus metrics there; without it none are served",
    )
    add(
        "--activation-timeout",
        default=60.0,
        metavar="SECONDS",
        type=_checked(parse_seconds),
        help="a wake whose server does not listen by then fails (default: 60)",
    )
    parser.set_defaults(command=_run)


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Argparse shows the message of its own error only; any other becomes `invalid value`."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed
