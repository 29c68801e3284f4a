"""A living peer is not given up: at 20 % loss each way, at most once in 100,000 link-hours."""

import pytest

from tests.proto.helpers.false_alarms import simulate, simulate_on_every_cpu
from tests.proto.helpers.network import Network, Path
from wangell_proto import LinkDown, LinkUp


# Eight seconds on two idle cores.
@pytest.mark.timeout(300)
def test_the_rate_is_below_one_in_100_000_link_hours():
    outcome = simulate_on_every_cpu(1000)
    assert outcome.link_hours == 1000
    assert outcome.alarms == 0
    assert outcome.last_counted_well() >= 7
    # A ping and its answer both get through with 0.8 x 0.8, so 0.36 of the silences outlive it;
    # what the other end sends of itself meanwhile makes it a little less.
    assert 0.30 < outcome.ratio() < 0.38
    assert outcome.alarms_per_link_hour() <= 1e-5


def test_where_too_much_is_lost_alarms_are_counted():
    outcome = simulate(2, loss=0.7, hours=0.2)
    assert outcome.alarms > 10


def test_whole_links_live_through_20_percent_of_loss():
    network = Network(seed=4)
    network.server()
    hosts = [network.client(f"n{index}")[1] for index in range(1, 6)]
    network.run(0.1)
    network.default = Path(loss=0.2)
    network.run(600)
    for host in hosts:
        assert len(host.of(LinkUp)) == 1
        assert not host.of(LinkDown)
