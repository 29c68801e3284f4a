"""Where the C is, and the header tree that BCC compiles it with."""

import os
import platform
from pathlib import Path

from wangell_daemon.datapath.errors import DatapathError

__all__ = ["EBPF", "build_header_tree"]

_PACKAGE = Path(__file__).resolve().parent.parent
# Installed, the C lies inside the package; in a checkout, beside it.
EBPF = next(each for each in (_PACKAGE / "ebpf", _PACKAGE.parent / "ebpf") if each.is_dir())

# BCC's name for the machine, and the folder of linux-libc-dev's asm headers on Debian.
_ARCHITECTURES = {
    "x86_64": ("x86", "x86_64-linux-gnu"),
    "aarch64": ("arm64", "aarch64-linux-gnu"),
}
_SYSTEM = Path("/usr/include")


def build_header_tree(root: Path) -> list[str]:
    """Fill `root`, new, with what BCC_KERNEL_SOURCE must name. Returns clang's flags.

    Our few files, by links. For the rest clang looks into linux-libc-dev's own directory, which the
    flags name: its 570 headers, linked one by one, took longer than all that is compiled. Before it
    comes `uapi/linux/bpf.h`, empty: BCC brings a newer one than most distributions have.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise DatapathError(f"{machine} is not supported; known: {', '.join(_ARCHITECTURES)}")
    if not (_SYSTEM / "linux" / "tcp.h").exists():
        raise DatapathError("the kernel's uapi headers are missing: apt-get install linux-libc-dev")
    arch, triplet = _ARCHITECTURES[machine]
    ours = EBPF / "headers"
    uapi, system = root / "include" / "uapi", root / "system"
    _link_all(ours / "include" / "linux", root / "include" / "linux")
    _link_all(ours / "arch" / arch / "include" / "asm", root / "arch" / arch / "include" / "asm")
    for generated in ("include/generated/uapi/linux", f"arch/{arch}/include/generated"):
        (root / generated).mkdir(parents=True)
    (uapi / "linux").mkdir(parents=True)
    (uapi / "linux" / "bpf.h").write_text("/* BCC brings its own. */\n")
    arch_uapi = root / "arch" / arch / "include" / "uapi"
    arch_uapi.mkdir(parents=True)
    (arch_uapi / "asm").symlink_to(_SYSTEM / triplet / "asm")
    system.mkdir()
    (system / "uapi").symlink_to(_SYSTEM)
    return [f"-I{system}", f"-I{_SYSTEM}"]


def _link_all(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for entry in os.scandir(source):
        (target / entry.name).symlink_to(entry.path)
