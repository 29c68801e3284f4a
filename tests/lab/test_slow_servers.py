"""Starts that outlast the client's first retry: the newest SYN is answered, and nothing later."""

from pathlib import Path

import pytest

from tests.lab.clusters import REPLAY_MARGIN_NS, at_zero


@pytest.mark.parametrize("readiness", ["listen", "probe"])
def test_a_server_that_takes_three_and_a_half_seconds(c_server: Path, readiness: str) -> None:
    """The client has sent again at 1 and at 2 or 3 s, as its kernel does; now it need not."""
    with (
        at_zero([str(c_server), "-d", "3500"], readiness=readiness) as lab,
        lab.capture() as capture,
    ):
        with lab.client.connect() as connection:
            told = lab.daemon.cold_starts.next(timeout_s=5)
            rto_ms = connection.rto_ms()
            assert connection.request().status == 200
        syns, (syn_ack,) = capture.syns(), capture.syn_acks()
        # What this connection taught the kernel must not haunt the next.
        with lab.client.connect() as warm:
            next_rto_ms = warm.rto_ms()
    print(f"\nRTO {rto_ms} ms, of the next connection {next_rto_ms} ms; {len(syns)} SYNs")
    assert told.replayed_ns is not None
    assert [syn for syn in syns if syn.captured_ns > told.replayed_ns + REPLAY_MARGIN_NS] == []
    assert len(syns) >= 3
    assert syn_ack.tsecr == syns[-1].tsval
    assert syn_ack.tsecr not in [syn.tsval for syn in syns[:-1]]
    assert told.clients == 1
    assert rto_ms < 2000
    assert next_rto_ms < 2000


def test_a_client_that_gives_up_leaves_nothing_that_hurts_the_next(c_server: Path) -> None:
    with at_zero([str(c_server), "-d", "1500"]) as lab:
        with pytest.raises(TimeoutError):
            lab.client.connect(timeout_s=0.2)
        with lab.capture() as capture:
            exchange = lab.client.get()
        assert exchange.status == 200
        (syn_ack,) = capture.syn_acks(exchange.client_port)
        assert syn_ack.tsecr == capture.syns(exchange.client_port)[-1].tsval
        assert lab.client.get().status == 200
