"""wangell-daemon: holds the SYNs of services at zero on one node, and replays them."""

import argparse
import logging
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wangell_daemon.datapath import DatapathError, default_interface
from wangell_daemon.keys import KeyFileError
from wangell_daemon.lock import AlreadyServedError, only_daemon_of
from wangell_daemon.run import run, uninstall
from wangell_daemon.settings import (
    Readiness,
    Settings,
    Workload,
    parse_address,
    parse_duration_s,
    parse_patterns,
)
from wangell_proto import LocalProtocolError

__all__ = ["main"]

T = TypeVar("T")
AUTO = "auto"

EXAMPLE = """\
example:
  wangell-daemon run --interface eth0 --controller 10.46.100.3:7946 --key-dir /etc/wangell

SIGTERM ends the daemon and leaves its programs attached, so that a restart has no gap; after 30 s
without a daemon they let everything pass. `wangell-daemon uninstall` takes them off.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns its exit status: 0, 1 with a message, or 2 for usage."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return int(arguments.command(arguments))
    except (DatapathError, KeyFileError, AlreadyServedError, LocalProtocolError, OSError) as error:
        print(f"wangell-daemon: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _run(arguments: argparse.Namespace) -> int:
    _require_root()
    run(
        Settings(
            interface=default_interface() if arguments.interface == AUTO else arguments.interface,
            pod_interfaces=arguments.pod_interfaces,
            node_name=arguments.node_name,
            controllers=tuple(arguments.controller),
            key_dir=arguments.key_dir,
            credential_file=arguments.credential_file,
            workload=Workload(arguments.workload),
            cgroup_root=arguments.cgroup_root,
            readiness=Readiness(arguments.readiness),
            probe_interval_s=arguments.probe_interval,
            metrics_address=arguments.metrics_address,
            health_address=arguments.health_address,
            cold_start_log=arguments.cold_start_log,
        )
    )
    return 0


def _uninstall(arguments: argparse.Namespace) -> int:
    _require_root()
    interface = default_interface() if arguments.interface == AUTO else arguments.interface
    with only_daemon_of(interface):
        was_there = uninstall(interface)
    what = "detached from" if was_there else "nothing of Wangell's was attached to"
    print(f"{what} {interface}")  # noqa: T201
    return 0


def _require_root() -> None:
    if os.geteuid() != 0:
        raise DatapathError(
            "not root: loading BPF programs needs root, or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, "
            "CAP_NET_RAW, CAP_SYS_ADMIN and CAP_SYS_PTRACE. Try: sudo wangell-daemon ..."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wangell-daemon",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="serve one interface until SIGTERM"))
    uninstall = commands.add_parser(
        "uninstall", help="take the programs off an interface and off the pods'"
    )
    uninstall.add_argument("--interface", default=AUTO, metavar="NAME")
    uninstall.set_defaults(command=_uninstall)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--interface",
        default=AUTO,
        metavar="NAME",
        help="where callers' packets arrive; default: that of the default route",
    )
    add(
        "--pod-interfaces",
        default="auto",
        metavar="NAMES",
        type=_checked(parse_patterns),
        help="where calls of this node's own pods arrive: auto (default: each veth whose other end "
        "is in another network namespace), names with wildcards, such as cali*,tap*, or none. "
        "Of several daemons on one host, one does it",
    )
    add(
        "--controller",
        required=True,
        action="append",
        metavar="HOST:PORT",
        type=_checked(parse_address),
        help="a controller's protocol address; repeat it for several, most liked first. A name is "
        "looked up, and stands for all its addresses",
    )
    add(
        "--key-dir",
        required=True,
        metavar="DIR",
        type=Path,
        help="holds controller.pub and psk, from `wangell-controller keygen`",
    )
    add(
        "--credential-file",
        metavar="FILE",
        type=Path,
        help="shown to the controllers: on Kubernetes a projected ServiceAccount token",
    )
    add(
        "--workload",
        choices=[each.value for each in Workload],
        default=Workload.NETNS.value,
        help="how a process is known to be a replica's: by its network namespace (one host, "
        "default) or by its pod's cgroup (Kubernetes)",
    )
    add(
        "--cgroup-root",
        default="/",
        metavar="PATH",
        help="the kubelet's --cgroup-root, with --workload cgroup (default /)",
    )
    add("--node-name", default=platform.node(), metavar="NAME", help="default: the host's name")
    add(
        "--readiness",
        choices=[each.value for each in Readiness],
        default=Readiness.LISTEN.value,
        help="how to learn that a replica accepts: its listen() (default), SYN probes for servers "
        "behind another kernel (gVisor, Kata, virtual machines), or whichever comes first",
    )
    add(
        "--probe-interval",
        default=0.005,
        metavar="TIME",
        type=_checked(parse_duration_s),
        help="between two SYN probes, such as 5ms (default)",
    )
    add(
        "--metrics-address",
        metavar="HOST:PORT",
        type=_checked(parse_address),
        help="serve Prometheus metrics there; without it none are served",
    )
    add(
        "--health-address",
        metavar="HOST:PORT",
        type=_checked(parse_address),
        help="serve /readyz there: 200 once the table is in and what sleeps is held; without it "
        "none is served",
    )
    add(
        "--cold-start-log",
        metavar="FILE",
        type=Path,
        help="append one JSON object a line for each cold start",
    )
    parser.set_defaults(command=_run)


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse show a parser's own message."""

    def checked(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked
