"""The inside of a process: reads `[verb, arguments]` from stdin, answers in a line of JSON.

It ends when its stdin does, so that none outlives a benchmark that was killed.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.proto.crowd import Crowd
from benchmarks.proto.echo import EchoClient, EchoServer
from benchmarks.proto.grpc_call import GrpcClient, GrpcServer
from benchmarks.proto.server import TableServer
from benchmarks.proto.wake import WakeClient

ROLES: dict[str, Callable[[], Any]] = {
    "crowd": Crowd,
    "echo-client": EchoClient,
    "echo-server": EchoServer,
    "grpc-client": GrpcClient,
    "grpc-server": GrpcServer,
    "table-server": TableServer,
    "wake-client": WakeClient,
}


async def serve(role: object) -> None:
    """Do what the lines of stdin ask until it ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        verb, arguments = json.loads(line)
        answer = await getattr(role, verb)(**arguments)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(ROLES[sys.argv[1]]()))
