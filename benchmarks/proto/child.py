"""The inside of a process: reads `[verb, arguments]` from stdin, answers in a line of JSON.

It ends when its stdin does, and is killed when its parent ends: none outlives a benchmark that was
killed.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
from importlib import import_module

PR_SET_PDEATHSIG = 1  # Of Linux.

# Loaded by need: a server of ours must not carry grpcio's modules through its collections.
ROLES = {
    "crowd": ("crowd", "Crowd"),
    "echo-client": ("echo", "EchoClient"),
    "echo-server": ("echo", "EchoServer"),
    "grpc-client": ("grpc_call", "GrpcClient"),
    "grpc-server": ("grpc_call", "GrpcServer"),
    "table-server": ("server", "TableServer"),
    "wake-client": ("wake", "WakeClient"),
}


def role(name: str) -> object:
    """Return a new object of a role. Raises KeyError for a name that is none."""
    module, kind = ROLES[name]
    made: object = getattr(import_module(f"benchmarks.proto.{module}"), kind)()
    return made


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. Raises OSError, SystemExit.

    Nobody reads stdin while a verb waits for what never comes, or while the process is stopped.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit("its parent has ended")  # Before it was asked for.


async def serve(role_of_this: object) -> None:
    """Do what the lines of stdin ask until it ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        verb, arguments = json.loads(line)
        answer = await getattr(role_of_this, verb)(**arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    end_with(parent=int(sys.argv[2]))
    asyncio.run(serve(role(sys.argv[1])))
