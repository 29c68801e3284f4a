"""`python -m tests.cluster`: the harness's cluster for hands-on work."""

import argparse
import sys
import time

from deploy.images.build import CATALOGUE
from deploy.images.build import build as build_image
from deploy.images.tools import MissingToolError
from tests.cluster import binaries, runs
from tests.cluster.cluster import KUBE_PROXY_MODES, Cluster

DESCRIPTION = """\
A real Kubernetes on this machine: two nodes, a control plane and a client outside, each in
namespaces of its own.
Nothing of it is seen from outside its namespaces, and several clusters do not clash."""

EPILOG = """\
examples:
  python -m tests.cluster up                          start one; says how to use it
  python -m tests.cluster up --kube-proxy nftables --image controller --image daemon
  python -m tests.cluster status                      what there is, and whose
  python -m tests.cluster down                        end those that `up` started

The first start on a machine builds Kubernetes: 7 minutes on 2 cores, kept in ~/.cache/wangell."""

NEXT_STEPS = """\
two nodes are Ready: {version}, kube-proxy in {mode} mode, {seconds:.1f} s

  kubectl          {directory}/kubectl get nodes
  on a node        {directory}/enter node1 [COMMAND...]     (node2, client, control-plane)
  from outside     {directory}/enter client curl http://10.200.0.1:NODEPORT/
  an address       {directory}/enter client ip route replace 10.200.1.7/32 via 10.200.0.1
  another image    {directory}/enter node1 ctr -n k8s.io images import ARCHIVE.tar
  logs             {directory}/log/
  end it           python -m tests.cluster down {id}
"""


def main() -> int:
    """Run one verb; the exit status is 1 where it could not."""
    arguments = _parse()
    try:
        arguments.verb(arguments)
    except (MissingToolError, PermissionError, RuntimeError) as error:
        notes = getattr(error, "__notes__", [])
        print("\n".join([*notes, f"cluster: {error}"]), file=sys.stderr)
        return 1
    return 0


def build(arguments: argparse.Namespace) -> None:
    """Build what tests need, and no more: a test's own time limit should not pay for it."""
    print(binaries.build(_progress))
    print(binaries.build_metallb(_progress))


def up(arguments: argparse.Namespace) -> None:
    """Start a cluster that stays."""
    archives = [build_image(name, progress=_progress) for name in arguments.image]
    directory = binaries.build(_progress)
    started = time.monotonic()
    cluster = Cluster.start(kube_proxy_mode=arguments.kube_proxy, progress=_progress)
    seconds = time.monotonic() - started
    try:
        for archive in archives:
            cluster.import_image(archive)
        cluster.detach()
    except BaseException:
        cluster.stop()
        raise
    values = {"version": binaries.kubernetes_version(), "mode": arguments.kube_proxy}
    print(NEXT_STEPS.format(**values, seconds=seconds, directory=cluster.directory, id=cluster.id))
    print(f"kustomize is {directory}/kustomize")


def down(arguments: argparse.Namespace) -> None:
    """End one cluster, or all that stay and all that were left."""
    chosen = [run for run in runs.found() if arguments.id in (run.id, None)]
    if arguments.id and not chosen:
        raise RuntimeError(
            f"there is no cluster {arguments.id}; see: python -m tests.cluster status"
        )
    for run in chosen:
        # A test run's own ends with it; only its name, said aloud, ends it before.
        if arguments.id or run.detached or run.abandoned:
            run.remove()
            print(f"{run.id}: ended")


def status(arguments: argparse.Namespace) -> None:
    """Say which clusters there are."""
    for run in runs.found():
        if run.abandoned:
            print(f"{run.id}  abandoned: the next start removes it")
        elif run.detached:
            print(f"{run.id}  up: {run.directory}/kubectl")
        else:
            print(f"{run.id}  belongs to a test run, and ends with it")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (build, up, down, status):
        words = (verb.__doc__ or "").partition("\n")[0]
        verbs.add_parser(verb.__name__, help=words, description=words).set_defaults(verb=verb)
    start, end = verbs.choices["up"], verbs.choices["down"]
    start.add_argument("--kube-proxy", choices=KUBE_PROXY_MODES, default=KUBE_PROXY_MODES[0])
    start.add_argument(
        "--image",
        choices=CATALOGUE,
        action="append",
        default=["helloworld-go"],
        help="build and import this image too (helloworld-go is always there)",
    )
    end.add_argument(
        "id", nargs="?", help="one cluster's name (default: every one that `up` started)"
    )
    return parser.parse_args()


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
