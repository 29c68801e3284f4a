"""A side of a comparison as a process: asked by a line of JSON, ended by its pid."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from benchmarks.proto.errors import BenchmarkError
from benchmarks.proto.network import Network
from wangell_lab.namespaces import Namespace

__all__ = ["ANSWER_TIMEOUT_S", "Child", "halves"]

# The longest answer is that of 1,000 peers that link: 5 s alone, 30 s beside two busy labs.
ANSWER_TIMEOUT_S = 90.0
NICE = -15
ROOT = Path(__file__).parents[2]


def halves(cpus: AbstractSet[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Return CPUs for servers and CPUs for clients; one alone is for both.

    Peers are on machines of their own. Where the kernel put both sides of a comparison on one CPU
    an echo took 15 us, where it did not 42: it chose anew in each run.
    """
    ordered = sorted(cpus)
    middle = len(ordered) // 2
    return frozenset(ordered[middle:]), frozenset(ordered[:middle] or ordered)


class Child:
    """One role in a namespace; see child.py for its other end."""

    def __init__(
        self, role: str, namespace: Namespace, cpus: frozenset[int], errors: IO[bytes]
    ) -> None:
        self._role = role
        self._errors = errors
        self._popen = namespace.popen(
            [sys.executable, "-m", "benchmarks.proto.child", role, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            # Ctrl-C is for the benchmark, which then ends its children.
            start_new_session=True,
        )
        os.sched_setaffinity(self._popen.pid, cpus)
        # Who else works on this machine is not the question. All sides are favoured alike.
        os.setpriority(os.PRIO_PROCESS, self._popen.pid, NICE)

    @classmethod
    @contextmanager
    def started(cls, role: str, network: Network) -> Iterator["Child"]:
        """Start it at its end of the network, and end it whatever happens."""
        servers_cpus, clients_cpus = halves(os.sched_getaffinity(0))
        with TemporaryFile() as errors:
            if role.endswith("server"):
                child = cls(role, network.servers, servers_cpus, errors)
            else:
                child = cls(role, network.clients, clients_cpus, errors)
            try:
                yield child
            finally:
                child.kill()

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Let it do something and return its answer. Raises BenchmarkError where none comes."""
        self.tell(verb, **arguments)
        return self.answer()

    def tell(self, verb: str, **arguments: Any) -> None:
        """Let it do something; `answer` then waits for it."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps([verb, arguments]).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._failure("ended") from None

    def answer(self) -> Any:
        """Wait for the answer to what was told. Raises BenchmarkError where none comes."""
        output = self._popen.stdout
        assert output is not None
        # One answer a question: nothing of it can hide in the buffer, where select sees nothing.
        if not select.select([output], [], [], ANSWER_TIMEOUT_S)[0]:
            raise self._failure(f"did not answer for {ANSWER_TIMEOUT_S:g} s")
        line = output.readline()
        if not line:
            raise self._failure("ended")
        return json.loads(line)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It does not run meanwhile, as if its machine were cut off."""
        self._popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._popen.send_signal(signal.SIGCONT)

    def hurry(self) -> None:
        """Run before everything else on its CPUs: whom it shares them with has others."""
        os.sched_setscheduler(self._popen.pid, os.SCHED_FIFO, os.sched_param(1))

    def kill(self) -> None:
        """End it at once, as a crash would. Twice is fine."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            pipe.close()

    def _failure(self, what: str) -> BenchmarkError:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-2000:]
        return BenchmarkError(f"{self._role} {what}. Its last words:\n{said or '(none)'}")
