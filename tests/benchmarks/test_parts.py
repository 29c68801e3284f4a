"""What the benchmark computes before and after it measures."""

import asyncio
import json
from itertools import pairwise
from types import SimpleNamespace

import pytest

from benchmarks.proto import __main__ as command
from benchmarks.proto import sealing
from benchmarks.proto.budgets import judge
from benchmarks.proto.closed_loop import ClosedLoop
from benchmarks.proto.measure import measurements, merge
from benchmarks.proto.plan import FULL, QUICK
from benchmarks.proto.plot import draw
from benchmarks.proto.processes import halves
from benchmarks.proto.samples import WAKE, Keys, record
from benchmarks.proto.tally import Tally
from tests.benchmarks.test_budgets import FIGURES
from wangell_proto import MessageReceived
from wangell_proto.constants import WAKE_BYTES_MAX
from wangell_proto.vocabulary import decode_record


def test_a_closed_loop_never_has_two_calls_at_once():
    async def story() -> None:
        open_calls, most = 0, 0

        def send() -> None:
            nonlocal open_calls, most
            open_calls += 1
            most = max(most, open_calls)
            asyncio.get_running_loop().call_soon(answer)

        def answer() -> None:
            nonlocal open_calls
            open_calls -= 1
            calls.on_answer()

        calls = ClosedLoop(send)
        took = await calls.run(7)
        assert len(took) == 7
        assert all(duration >= 0 for _, duration in took)
        assert [at for at, _ in took] == sorted(at for at, _ in took)
        assert most == 1
        assert len(await calls.run(2)) == 2  # Of this run alone.

    asyncio.run(story())


def test_a_closed_loop_pauses_between_calls_where_it_is_told_to():
    async def story() -> None:
        loop = asyncio.get_running_loop()
        calls = ClosedLoop(lambda: loop.call_soon(calls.on_answer))
        began = [at for at, _ in await calls.run(3, gap_s=0.02)]
        assert min(later - earlier for earlier, later in pairwise(began)) >= 0.02
        began = [at for at, _ in await calls.run(3)]
        assert began[-1] - began[0] < 0.02

    asyncio.run(story())


def test_a_tally_waits_for_the_last_of_a_kind():
    async def story() -> None:
        tally = Tally()
        event = MessageReceived(peer="n1", body=b"", lane=0)
        waiting = asyncio.ensure_future(tally.until(MessageReceived, 2))
        await asyncio.sleep(0)
        tally(event)
        await asyncio.sleep(0)
        assert not waiting.done()
        tally(event)
        assert await waiting == tally.last_at[MessageReceived]
        tally.reset()
        assert tally.counts[MessageReceived] == 0

    asyncio.run(story())


def test_details_of_several_measurements_are_kept_and_figures_stand_at_the_top():
    figures: dict[str, object] = {}
    merge(figures, {"seal_us": 4.0})
    merge(figures, {"snapshot_10k_ms": 9.0, "details": {"a": 1}})
    merge(figures, {"fanout_1000_ms": 8.0, "details": {"b": 2}})
    assert figures == {
        "seal_us": 4.0,
        "snapshot_10k_ms": 9.0,
        "fanout_1000_ms": 8.0,
        "details": {"a": 1, "b": 2},
    }


def test_both_plans_measure_all_with_a_whole_crowd():
    for plan in (FULL, QUICK):
        assert [each.name for each in measurements(plan)] == [
            "seal",
            "latency",
            "loss",
            "snapshot",
            "crowd",
        ]
        assert plan.peers == 1000
    assert QUICK.blocks < FULL.blocks


def test_samples_are_what_the_product_sends():
    assert 0 < len(WAKE) <= WAKE_BYTES_MAX
    keys = [record(number)[0] for number in range(10_000)]
    assert len(set(keys)) == 10_000
    assert decode_record(record(9_999)[1]).target_port == 8080
    assert record(0, activation=2)[1] != record(0)[1]
    assert Keys(**Keys.drawn().as_json()) != Keys.drawn()


def test_sealing_opens_what_it_sealed():
    ticks: list[int] = []
    figures = sealing.measure(SimpleNamespace(seal_batches=2), lambda: ticks.append(1))
    assert len(ticks) == 2
    assert set(figures) == {"seal_us", "open_us"}
    assert all(0 < value < 1000 for value in figures.values())


@pytest.mark.parametrize("arguments", [["--fast"], ["--json"], ["out.json"], ["--quick=1"]])
def test_wrong_arguments_are_refused_before_anything_is_made(arguments, capsys, monkeypatch):
    monkeypatch.setattr(command.Network, "made", lambda: pytest.fail("it made a network"))
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m benchmarks.proto" in capsys.readouterr().err


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_measuring(capsys, monkeypatch):
    monkeypatch.setattr(command.preflight, "check", lambda: None)
    monkeypatch.setattr(command.Network, "made", lambda: pytest.fail("it made a network"))
    assert command.main(["--plot", "out/figures.docx"]) == 1
    assert ".docx: cannot draw that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("over", "flags", "status"), [(False, [], 0), (True, [], 1), (True, ["--no-fail"], 0)]
)
def test_a_missed_budget_is_said_and_fails(  # noqa: PLR0917
    over, flags, status, tmp_path, monkeypatch, capsys
):
    machine = {
        "kernel": "6.18",
        "cpus": 2,
        "cpu": "a CPU",
        "python": "3.11",
        "commit": "abc",
        "load_average": {"seal": 0.5},
    }
    report = {**FIGURES, "machine": machine, "seal_us": 12.5 if over else 4.0}
    monkeypatch.setattr(command.preflight, "check", lambda: None)
    monkeypatch.setattr(command, "run", lambda *_: dict(report))
    written = tmp_path / "out" / "bench.json"
    assert command.main(["--json", str(written), *flags]) == status
    found = json.loads(written.read_text())
    missed = [each["figure"] for each in found["budgets"] if not each["met"]]
    assert missed == (["seal_us"] if over else [])
    assert ("missed" in capsys.readouterr().out) is over
    assert found["machine"]["load_average"] == {"seal": 0.5}


def test_a_picture_is_drawn(tmp_path):
    figures = {**FIGURES, "grpc_loss10_ms": {"p50": 1.0, "p99": 900.0}}
    path = tmp_path / "out" / "bench.png"
    draw(figures, judge(figures), path, note="a machine")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_servers_and_clients_have_cpus_of_their_own_where_there_are_two():
    assert halves({0, 1}) == ({1}, {0})
    assert halves({2, 3, 5}) == ({3, 5}, {2})
    assert halves({4}) == ({4}, {4})
