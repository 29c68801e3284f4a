"""Tables and picture, made from figures known beforehand."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.lab.helpers import a_wake, an_exchange
from wangell_lab import LabError
from wangell_lab.cold_starts import PHASES
from wangell_lab.plot import check_suffix, draw
from wangell_lab.render import series_table, wakes_table
from wangell_lab.report import Series


def shown(table: Table) -> dict[str, list[str]]:
    """Return a table's cells as a reader at a wide terminal sees them, by their first cell."""
    console = Console(file=StringIO(), width=200, color_system=None)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.strip("│┃ ") for line in text.splitlines() if "│" in line or "┃" in line]
    cells = [[cell.strip() for cell in row.replace("┃", "│").split("│")] for row in rows]
    return {row[0]: row[1:] for row in cells}


def test_single_wakes_stand_beside_the_warm_request() -> None:
    wakes = {"1st wake": a_wake(listen_ms=20.0), "2nd wake": a_wake(listen_ms=30.0)}
    rows = shown(wakes_table(wakes, an_exchange(first_byte_ms=0.4)))
    assert rows["step"][1:] == ["1st wake", "2nd wake", "warm request"]
    for phase in PHASES:
        assert phase in rows
    assert rows["listen"][1:] == ["20.00", "30.00", "-"]
    assert rows["cold start"][1:] == ["21.00", "31.00", "-"]
    assert rows["platform"][1:] == ["1.00", "1.00", "-"]
    assert rows["first byte"][1:] == ["21.50", "31.50", "0.40"]
    assert rows["client's SYNs"][1:] == ["1", "1", "-"]


def test_both_ways_of_readiness_stand_side_by_side() -> None:
    several = [
        Series(
            readiness=readiness,
            wakes=[a_wake(listen_ms=base + each) for each in range(3)],
            warm_ms=[0.4, 0.5, 0.6],
        )
        for readiness, base in (("listen", 20.0), ("probe", 25.0))
    ]
    rows = shown(series_table(several))
    assert rows["listen"] == [
        *("21.00", "22.00", "20.00", "22.00"),
        *("26.00", "27.00", "25.00", "27.00"),
    ]
    assert rows["warm request"][:4] == ["0.50", "0.60", "0.40", "0.60"]


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
