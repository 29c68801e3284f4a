"""One msgpack packer for everything that is sent.

`msgpack.packb` makes a packer, with a buffer of 256 KiB, for every call.
"""

from collections.abc import Callable
from typing import Any

import msgpack

__all__ = ["pack", "pack_array_header"]

_PACKER = msgpack.Packer()
pack: Callable[[Any], bytes] = _PACKER.pack
pack_array_header: Callable[[int], bytes] = _PACKER.pack_array_header
