"""Letting a held frame enter the stack, as if it had just arrived on its interface.

BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18) of `wangell_replay`, an XDP program:
rp_filter, conntrack, kube-proxy and the address all see the frame as they would the original.
"""

import ctypes
import errno

from wangell_daemon.datapath.syscalls import bpf

__all__ = ["Injector"]

BPF_PROG_TEST_RUN = 10
BPF_F_TEST_XDP_LIVE_FRAMES = 2
# ebpf/consts.h: no longer one is held.
FRAME_BYTES_MAX = 2048


class _XdpContext(ctypes.Structure):  # struct xdp_md
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            "data",
            "data_end",
            "data_meta",
            "ingress_ifindex",
            "rx_queue_index",
            "egress_ifindex",
        )
    ]


class _TestRun(ctypes.Structure):  # union bpf_attr, its `test` member
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


class Injector:
    """Injects frames through `program_fd`, an XDP program that passes what is to enter."""

    def __init__(self, program_fd: int) -> None:
        # Kept between calls: building them anew cost a third of an injection.
        self._context = _XdpContext()
        self._frame = ctypes.create_string_buffer(FRAME_BYTES_MAX)
        self._run = _TestRun(
            prog_fd=program_fd,
            repeat=1,
            ctx_size_in=ctypes.sizeof(_XdpContext),
            ctx_in=ctypes.addressof(self._context),
            data_in=ctypes.addressof(self._frame),
            flags=BPF_F_TEST_XDP_LIVE_FRAMES,
        )

    def inject(self, frame: bytes, *, ifindex: int, rx_queue: int = 0) -> None:
        """Let `frame`, its checksums whole, enter the stack on that interface. Raises OSError."""
        if len(frame) > FRAME_BYTES_MAX:
            raise OSError(errno.EMSGSIZE, f"{len(frame)} bytes are more than are ever held")
        ctypes.memmove(self._frame, frame, len(frame))
        self._context.data_end = len(frame)
        self._context.ingress_ifindex = ifindex
        self._context.rx_queue_index = rx_queue
        self._run.data_size_in = len(frame)
        bpf(BPF_PROG_TEST_RUN, self._run)
