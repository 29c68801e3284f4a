"""C to loaded programs, by BCC. The door through which `bcc` comes."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wangell_daemon.datapath.errors import DatapathError
from wangell_daemon.datapath.headers import EBPF, build_header_tree

__all__ = ["compile_program", "load_tc", "load_xdp", "quietly"]

TRACEFS = Path("/sys/kernel/tracing")


def compile_program(name: str) -> Any:
    """Compile `ebpf/<name>` and return BCC's BPF object. Takes about 0.15 s.

    Raises DatapathError with the compiler's or the verifier's last lines.
    """
    with _kernel_source() as headers:
        return quietly(
            f"compiling {name}",
            lambda bpf: bpf(
                src_file=os.fsencode(EBPF / name),
                cflags=[f"-I{EBPF}", *headers, "-Wno-everything"],
            ),
        )


def load_xdp(bpf: Any, function: str) -> Any:
    """Load one XDP function; its `fd` is the program's. Raises DatapathError with the log."""
    return quietly(f"loading {function}", lambda _: bpf.load_func(function.encode(), bpf.XDP))


def load_tc(bpf: Any, function: str) -> Any:
    """Load one tc function, a direct-action classifier. Raises DatapathError with the log."""
    return quietly(f"loading {function}", lambda _: bpf.load_func(function.encode(), bpf.SCHED_CLS))


def _bcc() -> Any:
    try:
        from bcc import BPF  # noqa: PLC0415 (only a daemon that loads programs needs it)
    except ImportError as error:
        raise DatapathError(
            f"BCC is missing ({error}): apt-get install python3-bpfcc (not PyPI's `bcc`), and "
            "use the system's Python, or a virtual environment made with --system-site-packages"
        ) from error
    return BPF


@contextmanager
def _kernel_source() -> Iterator[list[str]]:
    """Yield the flags by which clang finds what BCC does not."""
    with tempfile.TemporaryDirectory(prefix="wangell-headers-") as tree:
        kernel = Path(tree) / "kernel"
        flags = build_header_tree(kernel)
        os.environ["BCC_KERNEL_SOURCE"] = str(kernel)
        try:
            yield flags
        finally:
            del os.environ["BCC_KERNEL_SOURCE"]


def quietly(what: str, work: Callable[[Any], Any]) -> Any:
    """Run `work(BPF)`; what it prints to descriptor 2 from C goes into the error's message."""
    bpf = _bcc()
    with tempfile.TemporaryFile() as printed:
        stderr = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            return work(bpf)
        except Exception as error:
            printed.seek(0)
            log = printed.read().decode(errors="replace").strip().splitlines()
            raise DatapathError(_explain(what, error, log)) from error
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _explain(what: str, error: Exception, log: list[str]) -> str:
    if os.geteuid() != 0 or any("Operation not permitted" in line for line in log):
        return f"{what}: not permitted. Run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
    if not (TRACEFS / "events").is_dir():
        return f"{what}: tracefs is not mounted: mount -t tracefs tracefs {TRACEFS}"
    return "\n  ".join([f"{what}: {error}", *log[-12:]])
