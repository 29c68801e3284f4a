"""The catalogue of images, and the command that builds them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.images.oci import Image, layer_of_files, write_archive
from deploy.images.product import dependencies_layer, product_layer
from deploy.images.root import debian_layer
from deploy.images.tools import cache_dir, find, find_go, go_environment

HERE = Path(__file__).parent
PAUSE = "wangell.local/pause:1"
HELLOWORLD = "registry.loutres.me/helloworld-go:latest"
CONTROLLER = "registry.loutres.me/wangell-controller:dev"
DAEMON = "registry.loutres.me/wangell-daemon:dev"
# The "nonroot" of distroless images: no home, and no file of the image is its own.
NONROOT = "65532"

Progress = Callable[[str], None]


def pause(scratch: Path, _progress: Progress) -> Image:
    """The sandbox's process: 10 lines of C."""
    binary = scratch / "pause"
    subprocess.run(
        [find("gcc"), "-static", "-O2", "-s", "-o", binary, HERE / "pause/pause.c"], check=True
    )
    layer = layer_of_files(scratch / "pause.layer", {"/pause": binary})
    return Image(name=PAUSE, layers=[layer], entrypoint=["/pause"], user="65534")


def helloworld(scratch: Path, _progress: Progress) -> Image:
    """The server of the published manifest: static Go."""
    binary = scratch / "helloworld"
    command = [str(find_go()), "build", "-ldflags=-s -w", "-o", str(binary), "."]
    subprocess.run(command, cwd=HERE / "helloworld-go", env=go_environment(), check=True)
    layer = layer_of_files(scratch / "helloworld.layer", {"/helloworld": binary})
    return Image(name=HELLOWORLD, layers=[layer], entrypoint=["/helloworld"], user="65534")


def controller(scratch: Path, progress: Progress) -> Image:
    """What controller/Dockerfile describes."""
    layers = [
        debian_layer(["python3"], progress=progress),
        dependencies_layer("controller", progress=progress),
        product_layer(scratch / "controller.layer"),
    ]
    entrypoint = ["/usr/local/bin/wangell-controller"]
    return Image(
        name=CONTROLLER,
        layers=layers,
        entrypoint=entrypoint,
        user=NONROOT,
        environment={"HOME": "/"},
    )


def daemon(scratch: Path, progress: Progress) -> Image:
    """What daemon/Dockerfile describes: BCC, and the headers that it compiles against."""
    layers = [
        debian_layer(["python3", "python3-bpfcc", "linux-libc-dev", "nftables"], progress=progress),
        dependencies_layer("daemon", progress=progress),
        product_layer(scratch / "daemon.layer"),
    ]
    entrypoint = ["/usr/local/bin/wangell-daemon"]
    return Image(name=DAEMON, layers=layers, entrypoint=entrypoint)


CATALOGUE = {
    "pause": pause,
    "helloworld-go": helloworld,
    "controller": controller,
    "daemon": daemon,
}


def build(name: str, *, out: Path | None = None, progress: Progress = print) -> Path:
    """Build one image of the catalogue and return its OCI archive, in `out` or in the cache."""
    directory = out or cache_dir() / "images"
    directory.mkdir(parents=True, exist_ok=True)
    # A scratch of its own for each process: two builds of one image end with one archive, whole.
    scratch = directory / f".{name}-{os.getpid()}"
    scratch.mkdir()
    try:
        image = CATALOGUE[name](scratch, progress)
        archive = write_archive(image, scratch / "archive")
        progress(f"{image.name}: {image.size_bytes / 1e6:.1f} MB in {len(image.layers)} layers")
        return archive.rename(directory / f"{name}.tar")
    finally:
        for file in scratch.iterdir():
            file.unlink()
        scratch.rmdir()


def main() -> None:
    """Build the images named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.images.build",
        description="Build container images as OCI archives: no Docker, no registry, no daemon.",
        epilog="Then, on a node: ctr -n k8s.io images import NAME.tar. With Docker: docker load, "
        "or build deploy/images/NAME/Dockerfile, which describes the same image.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CATALOGUE)}")
    parser.add_argument("--out", type=Path, help="directory for the archives (default: the cache)")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in CATALOGUE]
    if unknown:
        parser.error(f"no image {unknown[0]!r}: choose from {', '.join(CATALOGUE)}")
    for name in arguments.names or CATALOGUE:
        sys.stdout.write(f"{build(name, out=arguments.out, progress=_to_stderr)}\n")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
