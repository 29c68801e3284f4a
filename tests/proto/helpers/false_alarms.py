"""How often a living peer is given up, over links that lose datagrams both ways.

A link-hour at 20 % loss gives up once in millions, so counting alone shows little. This counts
how often a silence outlives each of its pings, which falls by the same factor ping by ping, and
carries the count on from the last ping that was outlived often enough to be counted well.
"""

import heapq
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from wangell_proto import Timers
from wangell_proto.liveness import PING_FRAME, Liveness

TIMERS = Timers()
ONE_WAY_S = 0.0005
# Each end gives up on its own, so both are counted.
ENDS = 2
COUNTED_WELL = 100


@dataclass
class Outcome:
    """What was seen on so many link-hours."""

    link_hours: float
    alarms: int
    outlived: Counter[int]
    "How many silences outlived their n-th ping"

    def ratio(self) -> float:
        """By which factor fewer silences outlive one ping more, where both are counted well."""
        last = self.last_counted_well()
        return float((self.outlived[last] / self.outlived[1]) ** (1 / (last - 1)))

    def last_counted_well(self) -> int:
        """The last ping that so many silences outlived that their number means something."""
        return max(n for n, count in self.outlived.items() if count >= COUNTED_WELL)

    def alarms_per_link_hour(self) -> float:
        """The estimate: the count carried on to the last ping before the link is given up."""
        pings = int((TIMERS.dead_after_s - TIMERS.ping_after_s) / TIMERS.ping_interval_s)
        last = self.last_counted_well()
        return self.outlived[last] * self.ratio() ** (pings - last) / self.link_hours


class _Link:
    """Two ends that tell each other that they live, and a network that loses some of it."""

    def __init__(self, draw: random.Random, loss: float) -> None:
        self.random, self.loss, self.now = draw, loss, 0.0
        self.ends = [Liveness(TIMERS, now=0.0, jitter=draw.random()) for _ in range(ENDS)]
        self.pings = [0] * ENDS
        self.outlived: Counter[int] = Counter()
        self.alarms = 0
        self._on_the_way: list[tuple[float, int, bool]] = []

    def send(self, to: int, *, is_ping: bool) -> None:
        if self.random.random() >= self.loss:
            heapq.heappush(self._on_the_way, (self.now + ONE_WAY_S, to, is_ping))

    def run(self, seconds: float) -> None:
        deadlines = [end.next_deadline() for end in self.ends]
        while self.now < seconds:
            first, second = deadlines
            arrival = self._on_the_way[0][0] if self._on_the_way else float("inf")
            self.now = min(arrival, first, second)
            if arrival <= self.now:
                index = self._arrive()
            else:
                index = int(second < first)
                self._act(index)
            deadlines[index] = self.ends[index].next_deadline()

    def _arrive(self) -> int:
        _, index, is_ping = heapq.heappop(self._on_the_way)
        self.ends[index].on_heard(self.now)
        self.pings[index] = 0
        if is_ping:
            self.send(1 - index, is_ping=False)
        return index

    def _act(self, index: int) -> None:
        end = self.ends[index]
        if self.now >= end.silence_deadline:
            self.alarms += 1
            end.on_heard(self.now)
        if self.now >= end.heartbeat_due_at:
            end.heartbeat(self.now, epoch=0, flags=0, version=0, digest=b"")
            self.send(1 - index, is_ping=False)
        if self.now >= end.ping_due_at:
            if self.pings[index]:
                self.outlived[self.pings[index]] += 1
            self.pings[index] += 1
            assert end.ping(self.now, self.random.random()) == PING_FRAME
            self.send(1 - index, is_ping=True)


def simulate(links: int, *, first: int = 0, hours: float = 1.0, loss: float = 0.2) -> Outcome:
    """Let so many links live for so long; `first` is the number, and seed, of the first."""
    outcome = Outcome(links * hours, 0, Counter())
    for number in range(first, first + links):
        link = _Link(random.Random(number), loss)
        link.run(3600 * hours)
        outcome.alarms += link.alarms
        outcome.outlived.update(link.outlived)
    return outcome


def simulate_on_every_cpu(links: int) -> Outcome:
    """Let so many links live for an hour at 20 % loss, as many at a time as there are CPUs."""
    workers = len(os.sched_getaffinity(0))
    bounds = [links * worker // workers for worker in range(workers + 1)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(first), str(end - first)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        for first, end in pairwise(bounds)
    ]
    whole = Outcome(0.0, 0, Counter())
    for each in started:
        answer, _ = each.communicate()
        link_hours, alarms, outlived = json.loads(answer)
        whole.link_hours += link_hours
        whole.alarms += alarms
        whole.outlived.update({int(ping): count for ping, count in outlived.items()})
    return whole


if __name__ == "__main__":
    part = simulate(int(sys.argv[2]), first=int(sys.argv[1]))
    print(json.dumps([part.link_hours, part.alarms, part.outlived]))
