"""The inside of a process: reads `[verb, arguments]` from stdin, answers in a line of JSON.

It ends when its stdin does, so that none outlives a benchmark that was killed.
"""

import asyncio
import json
import sys
from importlib import import_module

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
    asyncio.run(serve(role(sys.argv[1])))
