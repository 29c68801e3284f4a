"""The components' configuration files, filled from tests/cluster/conf."""

import string
from pathlib import Path

TEMPLATES = Path(__file__).parent / "conf"


def fill(template: str, out: Path, **values: str | Path) -> Path:
    """Write a template to `out` with each $name replaced; KeyError for one that has no value."""
    text = string.Template((TEMPLATES / template).read_text())
    out.write_text(text.substitute({name: str(value) for name, value in values.items()}))
    return out
