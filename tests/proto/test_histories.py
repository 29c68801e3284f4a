"""Any history of loss, restarts, partitions and fail-over ends as promised.

Random histories by seed, and the same steps drawn by hypothesis, which shrinks what it finds. `make
soak` runs the first for as long as asked.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.proto.helpers.cluster import NAMES, SERVERS, Cluster, history
from tests.proto.helpers.network import Path
from wangell_proto import Lane


@pytest.mark.parametrize("seed", range(40))
def test_a_random_history_ends_as_promised(seed: int):
    history(seed, steps=120)


def test_a_history_is_replayed_by_its_seed():
    first, second = history(5, steps=60), history(5, steps=60)
    assert first.network.sent == second.network.sent
    assert len(first.network.sent) > 500


def test_a_history_that_fails_names_its_seed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wangell_proto.window.SlidingWindow.seen", lambda *_: False)
    with pytest.raises(AssertionError) as failure:
        for seed in range(20):
            history(seed, steps=120)
    assert "replay with history(seed=" in failure.value.__notes__[0]


names, servers = st.sampled_from(NAMES), st.sampled_from(SERVERS)


class ClusterHistories(RuleBasedStateMachine):
    """The steps of helpers/cluster.py, in any order that hypothesis can think of."""

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.cluster = Cluster(seed)
        self.cluster.run(1.0)

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.3, 2.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.run(seconds)

    @rule(name=names, lane=st.sampled_from(Lane), size=st.sampled_from([0, 800, 5000, 60000]))
    def a_client_sends(self, name: str, lane: Lane, size: int) -> None:
        self.cluster.send_up(name, lane, min(size, 800) if lane is Lane.WAKE else size)

    @rule(server=servers, name=names, size=st.sampled_from([0, 800, 5000]))
    def a_server_sends(self, server: tuple[str, int], name: str, size: int) -> None:
        self.cluster.send_down(server, name, Lane.STATE, size)

    @rule(key=st.sampled_from("abcdef"), value=st.none() | st.binary(max_size=3))
    def a_record_changes(self, key: str, value: bytes | None) -> None:
        self.cluster.change(key, value)

    @rule(
        loss=st.sampled_from([0.0, 0.2, 0.6]),
        corruption=st.sampled_from([0.0, 0.2]),
        duplication=st.sampled_from([0.0, 0.3]),
        jitter_s=st.sampled_from([0.0, 0.03]),
    )
    def the_weather_changes(self, **weather: float) -> None:
        self.cluster.weather(Path(**weather))

    @rule(name=names, server=servers, towards_server=st.booleans())
    def a_path_is_cut_one_way(
        self, name: str, server: tuple[str, int], towards_server: bool
    ) -> None:
        self.cluster.cut_one_way(name, server, towards_server=towards_server)

    @rule(server=servers)
    def a_server_restarts(self, server: tuple[str, int]) -> None:
        self.cluster.start_server(server)

    @rule(name=names)
    def a_client_restarts(self, name: str) -> None:
        self.cluster.start_client(name)

    @rule()
    def another_server_leads(self) -> None:
        self.cluster.fail_over()

    @rule()
    def keys_are_rotated(self) -> None:
        self.cluster.rotate()

    @rule(seconds=st.sampled_from([-0.5, 0.5, 10.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.cluster.jump(seconds)

    @invariant()
    def bounds_and_promises_hold(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.check()

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.cluster.settle()


ClusterHistories.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
# Three seconds alone; on a machine that does much else beside, many more.
TestClusterHistories = pytest.mark.timeout(300)(ClusterHistories.TestCase)
