"""The pages a newcomer reads say what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Not rooms: what tools leave behind, and what git and CI need.
HIDDEN = re.compile(r"\.|__pycache__|out$")
FILE_LINES_MAX = 400
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]


def folders() -> list[str]:
    return [each.name for each in ROOT.iterdir() if each.is_dir() and not HIDDEN.match(each.name)]


def test_every_folder_has_its_line() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert [each for each in folders() if f"`{each}/`" not in page] == []


def test_every_path_the_architecture_names_is_there() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(
        r"`((?:wangell_|ebpf/|tests/|docs/|samples/|deploy/|scripts/)[\w./]*)`", page
    )
    assert len(named) > 20
    assert [each for each in named if "<" not in each and not (ROOT / each).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [each for each in targets if "://" not in each]
    assert [each for each in local if not (page.parent / each).exists()] == []


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    decisions = [each.name for each in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert [each for each in decisions if each not in index] == []


def test_no_file_has_outgrown_a_reader() -> None:
    rooms = [each for each in folders() if each != "tests"]
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 100
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in long.items() if lines > FILE_LINES_MAX} == {}
