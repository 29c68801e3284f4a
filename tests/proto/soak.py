"""Random histories for as long as asked: `make soak MINUTES=60`, or with SEED=n.

Every history has its own seed, printed where it fails; `--seed N --histories 1` replays it.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from tests.proto.helpers.cluster import history


def main(argv: Sequence[str] | None = None) -> int:
    """Return the number of failures, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument("--steps", type=int, default=300, help="steps in each history")
    parser.add_argument("--histories", type=int, default=sys.maxsize, help="how many at most")
    arguments = parser.parse_args(argv)
    print(f"from seed {arguments.seed} on", flush=True)
    end, done = time.monotonic() + 60 * arguments.minutes, 0
    while time.monotonic() < end and done < arguments.histories:
        seed = arguments.seed + done
        try:
            cluster = history(seed, arguments.steps)
        except Exception:  # Whatever it is, the seed and the steps are in its note.
            traceback.print_exc()
            print(f"FAILED: python -m tests.proto.soak --seed {seed} "
                  f"--steps {arguments.steps} --histories 1")  # fmt: skip
            return 1
        done += 1
        if done % 100 == 0:
            print(f"{done} histories, last seed {seed}, {cluster.network.now:.0f} s virtual",
                  flush=True)  # fmt: skip
    print(f"{done} histories of {arguments.steps} steps, none failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
