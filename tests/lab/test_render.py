"""Tables and picture, made from figures known beforehand."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.lab.helpers import a_cold_start, a_wake, an_exchange
from wangell_lab import LabError
from wangell_lab.cold_starts import PHASES
from wangell_lab.plot import check_suffix, draw
from wangell_lab.render import difference, series_table, wakes_table
from wangell_lab.report import Series
from wangell_lab.wakes import Wake


def shown(table: Table, *, width: int = 80) -> list[str]:
    """Return a table's lines as a reader sees them."""
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def row(lines: list[str], name: str) -> list[str]:
    """Return the numbers of a row."""
    (line,) = [line for line in lines if line.strip().startswith(name)]
    return [word for word in line.split() if re.fullmatch(r"[\d.]+|-", word)]


def test_single_wakes_stand_beside_the_warm_request() -> None:
    wakes = {"1st wake": a_wake(listen_ms=20.0), "2nd wake": a_wake(listen_ms=30.0)}
    lines = shown(wakes_table(wakes, an_exchange(first_byte_ms=0.4)))
    for name in ("1st wake", "2nd wake", "warm"):
        assert any(name in line for line in lines)
    for phase in PHASES:
        assert len(row(lines, phase)) == 3
    assert row(lines, "listen") == ["20.00", "30.00", "-"]
    assert row(lines, "cold start") == ["21.00", "31.00", "-"]
    assert row(lines, "platform") == ["1.00", "1.00", "-"]
    assert row(lines, "first byte") == ["21.50", "31.50", "0.40"]
    assert row(lines, "client's SYNs") == ["1", "1", "-"]


def test_a_wake_that_was_given_up_has_gaps_and_no_invented_figures() -> None:
    given_up = Wake(
        caller=an_exchange(first_byte_ms=1020.0),
        cold_start=a_cold_start(outcome="timeout", phases_ms={"detect": 0.1, "notify": 0.2}),
        client_syns=2,
    )
    lines = shown(wakes_table({"1st wake": given_up}, an_exchange(first_byte_ms=0.4)))
    assert row(lines, "detect") == ["0.10", "-"]
    for name in ("handshake", "cold start", "platform"):
        assert row(lines, name) == ["-", "-"]
    assert row(lines, "client's SYNs") == ["2", "-"]


def a_series(readiness: str, listen_ms: float) -> Series:
    wakes = [a_wake(listen_ms=listen_ms + each) for each in range(3)]
    return Series(readiness=readiness, wakes=wakes, warm_ms=[0.4, 0.5, 0.6])


def test_both_ways_of_readiness_stand_side_by_side() -> None:
    lines = shown(series_table([a_series("listen", 20.0), a_series("probe", 25.0)]))
    assert any("LISTEN seen" in line and "SYN probes" in line for line in lines)
    assert row(lines, "listen") == ["21.00", "22.00", "22.00", "26.00", "27.00", "27.00"]
    assert row(lines, "cold start") == ["22.00", "23.00", "23.00", "27.00", "28.00", "28.00"]
    assert row(lines, "warm request") == ["0.50", "0.60", "0.60", "0.50", "0.60", "0.60"]


def test_the_tables_fit_a_terminal_of_eighty_columns_unbroken() -> None:
    wakes = {"1st wake\n(curl)": a_wake(listen_ms=999.0), "2nd wake\n(socket)": a_wake()}
    single = shown(wakes_table(wakes, an_exchange(first_byte_ms=0.4)))
    many = shown(series_table([a_series("listen", 990.0), a_series("probe", 990.0)]))
    assert not [line for line in single + many if "…" in line]
    # One line a row: none was folded.
    assert len(single) == len(shown(wakes_table(wakes, an_exchange(first_byte_ms=1)), width=200))


def test_the_difference_is_said_in_words() -> None:
    one, other = a_series("listen", 20.0), a_series("probe", 22.5)
    assert "SYN probes, the median cold start is 2.50 ms longer" in difference(one, other)
    assert "LISTEN seen, the median cold start is 2.50 ms shorter" in difference(other, one)


def test_the_picture_is_drawn_and_its_directory_made(tmp_path: Path) -> None:
    path = tmp_path / "out" / "demo.png"
    cold = [20.0 + each / 10 for each in range(100)]
    draw({"cold": cold, "warm": [0.4]}, path, note="100 runs")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 10_000


def test_outliers_are_drawn_and_not_cut_off(tmp_path: Path) -> None:
    """A picture that hid the 1,000 ms class would lie."""
    path = tmp_path / "demo.svg"
    draw({"cold": [0.001, 5.0, 9999.0]}, path, note="three runs")
    assert "1038 ms" in path.read_text() or path.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["demo.txt", "demo", "demo.png.gz"])
def test_a_name_that_cannot_be_drawn_to_is_refused_beforehand(name: str) -> None:
    with pytest.raises(LabError, match=r"cannot draw that; its name may end in .*\.png"):
        check_suffix(Path(name))


def test_the_usual_suffixes_are_taken() -> None:
    for name in ("demo.png", "demo.svg", "demo.pdf", "DEMO.PNG"):
        check_suffix(Path(name))
