"""The command line of the lab: `wangell-lab up | down | demo`."""

import argparse
import os
import select
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from wangell_lab import demo, preflight
from wangell_lab.errors import LabError
from wangell_lab.lab import Lab
from wangell_lab.plot import check_suffix
from wangell_lab.process import Process
from wangell_lab.programs import Controller, Daemon
from wangell_lab.registry import Registry
from wangell_lab.servers import PYTHON_SERVER
from wangell_lab.topology import EXAMPLE, example

__all__ = ["main"]

INTERRUPTED = 130  # As a shell reports a program that Ctrl-C ended.

DESCRIPTION = """\
One host as a cluster: network namespaces for a client, a node, a controller and
a pod, the real wangell-controller and wangell-daemon, and the service of
samples/serverless-example.yaml at zero. Needs root. Several labs may run side by
side; each removes all it made when it ends, and what a killed one left behind is
removed when the next one starts.
"""

UP_EPILOG = """\
examples:
  wangell-lab up                              # then, in another terminal, what it prints
  wangell-lab up --server 'python3 -m http.server 8080'
  wangell-lab up --nodes 2 --controllers 2    # the pod elsewhere; kill -9 a controller
  wangell-lab up --bare                       # the network only; start the programs yourself
"""

DEMO_EPILOG = """\
examples:
  wangell-lab demo
  wangell-lab demo --runs 200 --json out/demo.json --plot out/demo.png
  wangell-lab demo --server /path/to/my-server

Exit status: 0; 1 if a wake took more than one SYN of the client or did not complete.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        preflight.check()
        status: int = arguments.run(arguments)
    except LabError as error:
        print(f"wangell-lab: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wangell-lab",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="up | down | demo")
    _add_up(commands)
    _add_down(commands)
    _add_demo(commands)
    return parser


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = commands.add_parser(
        "up",
        help="bring a lab up, say how to use it, keep it until Ctrl-C",
        epilog=UP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    up.set_defaults(run=_up)
    _add_server(up)
    _add_size(up)
    up.add_argument(
        "--readiness",
        choices=("listen", "probe", "both"),
        default="listen",
        help="how the daemon learns that the server is ready (default: %(default)s)",
    )
    up.add_argument(
        "--idle-timeout",
        type=_positive,
        metavar="SECONDS",
        help="in place of the sample's 1800",
    )
    up.add_argument(
        "--bare", action="store_true", help="the network only: no controller, no daemon"
    )


def _add_down(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    down = commands.add_parser(
        "down",
        help="end labs, and remove what killed ones left",
        description="Without an ID: remove what killed labs left, and list those that live.",
    )
    down.set_defaults(run=_down)
    down.add_argument("lab_ids", nargs="*", metavar="ID", help="a living lab to end")
    down.add_argument("--all", action="store_true", help="end every living lab")


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    shown = commands.add_parser(
        "demo",
        help="wake a service at zero with a real SYN, and show how long each step took",
        epilog=DEMO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown.set_defaults(run=_demo)
    _add_server(shown)
    _add_size(shown)
    shown.add_argument(
        "--runs",
        type=_positive,
        default=50,
        metavar="N",
        help="cold starts for each of both ways of readiness (default: %(default)s)",
    )
    shown.add_argument(
        "--idle-timeout",
        type=_positive,
        default=3,
        metavar="SECONDS",
        help="in place of the sample's 1800 (default: %(default)s)",
    )
    shown.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    shown.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the distribution there (.png, .svg, .pdf)"
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        type=_command,
        default=PYTHON_SERVER,
        metavar="CMD",
        help="what the service runs: an HTTP server on port 8080, also given as $PORT "
        "(default: a small one in Python)",
    )


def _add_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nodes",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="with several, callers come to node1 and the pod is on node2 (default: %(default)s)",
    )
    parser.add_argument(
        "--controllers",
        type=int,
        choices=(1, 2),
        default=1,
        help="the second stands by, and leads when the first has ended (default: %(default)s)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return int(text)


def _command(text: str) -> tuple[str, ...]:
    try:
        command = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if not command or shutil.which(command[0]) is None:
        raise argparse.ArgumentTypeError(f"{text!r}: no such program, or not executable")
    return command


def _up(arguments: argparse.Namespace) -> int:
    console = Console(highlight=False)
    exposures = (example(nodes=arguments.nodes),)
    with Lab(nodes=arguments.nodes, controllers=arguments.controllers, exposures=exposures) as lab:
        if not arguments.bare:
            lab.start_controllers(server=arguments.server, idle_timeout_s=arguments.idle_timeout)
            lab.start_daemons(readiness=arguments.readiness)
        console.print(_how_to_use(lab), soft_wrap=True)
        _wait_for_trouble(lab, console)
    return 0


def _how_to_use(lab: Lab) -> str:
    def inside(host: str, command: str) -> str:
        return f"  nsenter --net={lab.namespace(host).path} {command}"

    hosts = [host.name for host in lab.topology.hosts if host.role != "switch"]
    lines = [
        f"Lab {lab.lab_id} is up. Ctrl-C here or `wangell-lab down {lab.lab_id}` ends it.",
        f"Its files and logs: {lab.directory}",
        "A shell anywhere:",
        *(inside(host, "bash") for host in hosts),
        "Watch the wire:",
        inside("client", "tcpdump -ni eth0 tcp"),
    ]
    if lab.daemons:
        lines += [
            f"Wake {EXAMPLE.service}:",
            inside("client", f"curl --noproxy '*' http://{EXAMPLE.address}/"),
        ]
    programs: list[Controller | Daemon] = [*lab.controllers.values(), *lab.daemons.values()]
    for program in programs:
        address, port = program.metrics_address
        lines += [
            f"Metrics of {program.name}:",
            inside("client", f"curl --noproxy '*' http://{address}:{port}/metrics"),
        ]
    return "\n".join(lines)


def _wait_for_trouble(lab: Lab, console: Console) -> None:
    """Return never: Ctrl-C and SIGTERM raise, and so does the end of a program, as LabError.

    A controller may end while another is left: that is what the other is for.
    """
    with ExitStack() as opened:
        programs: dict[int, Process] = {}
        for program in (*lab.controllers.values(), *lab.daemons.values()):
            pidfd = os.pidfd_open(program.pid)
            opened.callback(os.close, pidfd)
            programs[pidfd] = program
        while True:
            for pidfd in select.select(programs, [], [])[0]:
                ended = programs.pop(pidfd)
                left = [each for each in programs.values() if isinstance(each, Controller)]
                if not (isinstance(ended, Controller) and left):
                    raise LabError(
                        f"{ended.name} has ended. The end of its log:\n{ended.log_tail()}"
                    )
                console.print(f"{ended.name} has ended; {left[0].name} is left.")


def _down(arguments: argparse.Namespace) -> int:
    registry, console = Registry(), Console(highlight=False)
    for lab_id in registry.living() if arguments.all else arguments.lab_ids:
        registry.bring_down(lab_id)
        console.print(f"Lab {lab_id} is down.")
    for lab_id in registry.sweep():
        console.print(f"Removed what lab {lab_id} had left.")
    for lab_id in registry.living():
        console.print(f"Lab {lab_id} lives: `wangell-lab down {lab_id}` ends it.")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None:
        check_suffix(arguments.plot)  # Before the runs, not after them.
    settings = demo.Settings(
        runs=arguments.runs,
        server=arguments.server,
        idle_timeout_s=arguments.idle_timeout,
        json_path=arguments.json,
        plot_path=arguments.plot,
        nodes=arguments.nodes,
        controllers=arguments.controllers,
    )
    console = Console(highlight=False)
    problems = demo.run(settings, console)
    if not problems:
        console.print("[green]One SYN of the client in every wake.[/green]")
        return 0
    for problem in problems:
        print(f"wangell-lab: {problem}", file=sys.stderr)  # noqa: T201
    return 1
