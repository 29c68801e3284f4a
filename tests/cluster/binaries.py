"""Kubernetes, etcd, kustomize, CoreDNS and MetalLB: built from Go modules once, kept outside the
tree.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from deploy.images.tools import cache_dir, find_go, go_environment, go_version, locked

SOURCE = Path(__file__).parent / "kube"
# One binary, called by name: Kubernetes's components share nearly all their code.
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
# kustomize 5.8.3 wants Go 1.27. CoreDNS is no import of ours: it would raise what Kubernetes pins.
TOOLS = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2",
    "coredns": "github.com/coredns/coredns@v1.14.3",
}
VERSION = "k8s.io/component-base/version"
# A module of its own: it wants other versions of Kubernetes's libraries.
METALLB_SOURCE = Path(__file__).parent / "metallb"
METALLB = "go.universe.tf/metallb"

Progress = Callable[[str], None]


def build(progress: Progress) -> Path:
    """The directory of the binaries; building it takes 7 minutes on 2 cores, once."""
    home = (
        cache_dir() / f"kube-{_digest(SOURCE, 'go.mod', 'go.sum', 'main.go', more=TOOLS.values())}"
    )
    with locked(home.with_suffix(".lock")):
        if not (home / "bin").exists():
            partial = home / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _build_kube(partial, progress)
            for name, module in TOOLS.items():
                _build_tool(name, module, partial, progress)
            partial.rename(home / "bin")
    return home / "bin"


def build_metallb(progress: Progress) -> Path:
    """The directory of MetalLB's controller, speaker and crd/; 4 minutes on 2 cores, once."""
    home = cache_dir() / f"metallb-{_digest(METALLB_SOURCE, 'go.mod', 'go.sum')}"
    with locked(home.with_suffix(".lock")):
        if not (home / "bin").exists():
            partial = home / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            progress("building MetalLB: once, about 4 minutes on 2 cores")
            commands = [f"{METALLB}/controller", f"{METALLB}/speaker"]
            listed = _go("list", "-deps", *commands, cwd=METALLB_SOURCE)
            command = ["build", "-v", "-ldflags=-s -w", "-o", f"{partial}/", *commands]
            _report("MetalLB", command, METALLB_SOURCE, len(listed.splitlines()), progress)
            module = _go("list", "-m", "-f", "{{.Dir}}", METALLB, cwd=METALLB_SOURCE).strip()
            shutil.copytree(Path(module, "config/crd/bases"), partial / "crd")
            partial.rename(home / "bin")
    return home / "bin"


def kubernetes_version() -> str:
    """The version of Kubernetes that go.mod asks for, such as v1.36.3."""
    words = (SOURCE / "go.mod").read_text().split()
    return words[words.index("k8s.io/kubernetes") + 1]


def _digest(source: Path, *names: str, more: Iterable[str] = ()) -> str:
    """What a build is kept under: whatever it is made of makes it another."""
    recipe = [(source / name).read_text() for name in names] + [go_version(), *more]
    return hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:12]


def _build_kube(out: Path, progress: Progress) -> None:
    version = kubernetes_version()
    progress(f"building Kubernetes {version}: once, about 6 minutes on 2 cores")
    listed = _go("list", "-deps", ".", cwd=SOURCE)
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X {VERSION}.{name}={value}" for name, value in stamps.items())])
    command = ["build", "-v", f"-ldflags={flags}", "-o", str(out / "kube"), "."]
    _report(f"Kubernetes {version}", command, SOURCE, len(listed.splitlines()), progress)
    for component in COMPONENTS:
        (out / component).symlink_to("kube")


def _build_tool(name: str, module: str, out: Path, progress: Progress) -> None:
    progress(f"building {name}")
    _go("install", "-ldflags=-s -w", module, cwd=out, GOBIN=str(out))


def _go(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [find_go(), *arguments],
        cwd=cwd,
        env=go_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"go {' '.join(arguments)} failed:\n{_last_lines(done.stderr.splitlines())}"
        )
    return done.stdout


def _report(what: str, command: list[str], cwd: Path, packages: int, progress: Progress) -> None:
    """Run a `go build -v`, which names each package it compiles, and tell of each twentieth."""
    started, told, lines = time.monotonic(), 0, []
    with subprocess.Popen(
        [find_go(), *command],
        cwd=cwd,
        env=go_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in _lines_of(process):
            lines.append(line)
            twentieth = 20 * len(lines) // packages
            if twentieth > told:
                told = twentieth
                progress(f"{what}: {5 * told} %, {time.monotonic() - started:.0f} s")
    if process.returncode:
        raise RuntimeError(f"the build of {what} failed:\n{_last_lines(lines)}")
    progress(f"{what}: built in {time.monotonic() - started:.0f} s")


def _lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None, "asked for as a pipe"
    return (line.rstrip() for line in process.stderr)


def _last_lines(lines: list[str]) -> str:
    return os.linesep.join(lines[-15:])
