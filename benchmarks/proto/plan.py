"""How much is measured. The whole is made to end within 4 minutes on a busy machine of 2 cores."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Counts and times of one run."""

    blocks: int
    "Each side of a comparison has its turn so often"
    block_calls: int
    idle_calls: int
    "Calls of each side with IDLE_GAP_S between them"
    watched_wakes: int
    "Wakes whose parts are timed one by one"
    lossy_blocks: int
    lossy_wakes: int
    "Wakes in a block under loss"
    lossy_grpc: int
    "gRPC calls in a block under loss: one lost segment costs TCP 200 ms"
    seal_batches: int
    snapshots: int
    peers: int
    steady_s: float
    "How long the server's CPU time is watched with all peers linked"
    changes: int
    take_overs: int


FULL = Plan(
    blocks=25,
    block_calls=200,
    idle_calls=80,
    watched_wakes=2000,
    lossy_blocks=4,
    lossy_wakes=1000,
    lossy_grpc=200,
    seal_batches=60,
    snapshots=7,
    peers=1000,
    steady_s=20.0,
    changes=11,
    take_overs=5,
)
# Shows that everything works, in half a minute. The crowd is whole: its budgets are for 1,000.
QUICK = Plan(
    blocks=5,
    block_calls=200,
    idle_calls=10,
    watched_wakes=400,
    lossy_blocks=2,
    lossy_wakes=400,
    lossy_grpc=80,
    seal_batches=10,
    snapshots=3,
    peers=1000,
    steady_s=5.0,
    changes=3,
    take_overs=2,
)
