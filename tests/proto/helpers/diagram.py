"""The state diagram of docs/protocol.md, drawn from the table in wangell_proto/states.py.

`python -m tests.proto.helpers.diagram` writes it into the page, between its two markers.
"""

from pathlib import Path

from wangell_proto.states import TRANSITIONS, LinkState

START, END = "<!-- states: generated -->", "<!-- states: end -->"


def state_diagram() -> str:
    """Return mermaid: an arrow for each pair of states, with every input that leads along it."""
    lines = [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {LinkState.RESTING.value}: client",
        f"    [*] --> {LinkState.PROVING.value}: server answers a handshake",
    ]
    for state, row in TRANSITIONS.items():
        arrows: dict[LinkState, list[str]] = {}
        for given, following in row.items():
            arrows.setdefault(following, []).append(given.value)
        for following, inputs in arrows.items():
            lines.append(f"    {state.value} --> {following.value}: {', '.join(inputs)}")
    return "\n".join([*lines, f"    {LinkState.CLOSED.value} --> [*]", "```"])


if __name__ == "__main__":
    page = Path(__file__).parents[3] / "docs" / "protocol.md"
    before, rest = page.read_text().split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n{state_diagram()}\n{END}{after}")
