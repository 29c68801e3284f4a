"""What is injected fits the buffer that is kept for it."""

import errno
import re

import pytest

from wangell_daemon.datapath.headers import EBPF
from wangell_daemon.datapath.injection import FRAME_BYTES_MAX, Injector


def test_the_buffer_takes_what_the_programs_hold() -> None:
    consts = (EBPF / "consts.h").read_text()
    assert re.findall(r"#define FRAME_BYTES_MAX (\d+)", consts) == [str(FRAME_BYTES_MAX)]


def test_a_longer_frame_is_refused_before_the_kernel_is_asked() -> None:
    with pytest.raises(OSError, match="2049 bytes") as refused:
        Injector(program_fd=-1).inject(bytes(FRAME_BYTES_MAX + 1), ifindex=1)
    assert refused.value.errno == errno.EMSGSIZE
    with pytest.raises(OSError, match="Bad file descriptor"):
        Injector(program_fd=-1).inject(bytes(FRAME_BYTES_MAX), ifindex=1)
