"""Programs and maps by their kernel id, also those that another process loaded."""

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

from wangell_daemon.datapath.syscalls import bpf

__all__ = ["MapInfo", "MapWriter", "entries", "open_maps_of", "program_name"]

_LOOKUP, _UPDATE, _NEXT_KEY, _PROGRAM_BY_ID, _MAP_BY_ID, _INFO = 1, 2, 4, 13, 14, 15
_MAPS_MAX = 32  # ours has eight


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInfo:
    """An open map."""

    fd: int
    name: str
    key_bytes: int
    value_bytes: int


class _ById(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("id", "next_id", "open_flags")]


class _InfoCall(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_uint32), ("length", ctypes.c_uint32), ("info", ctypes.c_uint64)]


class _ElementCall(ctypes.Structure):
    _fields_ = [
        ("map_fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value_or_next_key", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


class _ProgramInfo(ctypes.Structure):  # the head of struct bpf_prog_info
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_bytes", ctypes.c_uint32),
        ("xlated_bytes", ctypes.c_uint32),
        ("jited", ctypes.c_uint64),
        ("xlated", ctypes.c_uint64),
        ("load_time_ns", ctypes.c_uint64),
        ("uid", ctypes.c_uint32),
        ("map_count", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    ]


class _MapInfo(ctypes.Structure):  # the head of struct bpf_map_info
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_bytes", ctypes.c_uint32),
        ("value_bytes", ctypes.c_uint32),
        ("entries_max", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    ]


class MapWriter:
    """Writes entries of one map. Its call is built once: BCC's takes 20 us longer in a wake."""

    def __init__(self, map_fd: int, *, key_bytes: int, value_bytes: int) -> None:
        self._key = ctypes.create_string_buffer(key_bytes)
        self._value = ctypes.create_string_buffer(value_bytes)
        self._call = _ElementCall(
            map_fd=map_fd,
            key=ctypes.addressof(self._key),
            value_or_next_key=ctypes.addressof(self._value),
        )

    def put(self, key: bytes, value: bytes) -> None:
        """Write one entry, in place of what was there. Raises OSError."""
        self._key.raw, self._value.raw = key, value
        bpf(_UPDATE, self._call)


def program_name(program_id: int) -> str:
    """Return the name that its loader gave it, at most 15 characters. Raises OSError."""
    fd = bpf(_PROGRAM_BY_ID, _ById(id=program_id))
    try:
        info = _ProgramInfo()
        _read_info(fd, info)
        return bytes(info.name).decode()
    finally:
        os.close(fd)


def open_maps_of(program_id: int) -> dict[str, MapInfo]:
    """The maps that a program uses, by name. The caller closes each fd. Raises OSError."""
    opened = [_open_map(map_id) for map_id in _map_ids(program_id)]
    return {each.name: each for each in opened}


def entries(table: MapInfo) -> Iterator[tuple[bytes, bytes]]:
    """Walk a hash's or an array's entries. Writers may go on meanwhile."""
    key = ctypes.create_string_buffer(table.key_bytes)
    value = ctypes.create_string_buffer(table.value_bytes)
    step = _ElementCall(map_fd=table.fd, value_or_next_key=ctypes.addressof(key))
    read = _ElementCall(
        map_fd=table.fd, key=ctypes.addressof(key), value_or_next_key=ctypes.addressof(value)
    )
    while _succeeds(_NEXT_KEY, step):
        step.key = ctypes.addressof(key)
        if _succeeds(_LOOKUP, read):
            yield key.raw, value.raw


def _succeeds(command: int, call: _ElementCall) -> bool:
    try:
        bpf(command, call)
    except FileNotFoundError:  # the last key, or an entry deleted meanwhile
        return False
    return True


def _map_ids(program_id: int) -> list[int]:
    fd = bpf(_PROGRAM_BY_ID, _ById(id=program_id))
    try:
        ids = (ctypes.c_uint32 * _MAPS_MAX)()
        info = _ProgramInfo(map_count=_MAPS_MAX, map_ids=ctypes.addressof(ids))
        _read_info(fd, info)
        return list(ids[: info.map_count])
    finally:
        os.close(fd)


def _open_map(map_id: int) -> MapInfo:
    fd = bpf(_MAP_BY_ID, _ById(id=map_id))
    info = _MapInfo()
    _read_info(fd, info)
    return MapInfo(
        fd=fd,
        name=bytes(info.name).decode(),
        key_bytes=info.key_bytes,
        value_bytes=info.value_bytes,
    )


def _read_info(fd: int, info: ctypes.Structure) -> None:
    bpf(_INFO, _InfoCall(fd=fd, length=ctypes.sizeof(info), info=ctypes.addressof(info)))
