"""YAML files to plain documents. What cannot be read is a problem in words, never an exception."""

import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["FILE_BYTES_MAX", "Document", "read_documents"]

# etcd takes 1.5 MiB an object and a manifest has some 300 bytes; what is larger is another file.
FILE_BYTES_MAX = 1024 * 1024


class Document(typing.NamedTuple):
    """One document of a file."""

    origin: str
    "The file's path, and the document's number where there are several"
    content: Any


class _Loader(yaml.SafeLoader):
    """safe_load's loader, but a key given twice is an error: YAML would quietly keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[object] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return typing.cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


def read_documents(paths: Iterable[Path], problems: list[str]) -> Iterator[Document]:
    """Yield every document of the files; a directory stands for its *.yaml and *.yml."""
    for path in paths:
        if not path.is_dir():
            yield from _documents(path, problems)
            continue
        found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
        if not found:
            problems.append(f"{path}: no *.yaml or *.yml in this directory")
        for file in found:
            yield from _documents(file, problems)


def _documents(path: Path, problems: list[str]) -> Iterator[Document]:
    text = _text(path, problems)
    if text is None:
        return
    try:
        contents = [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a timestamp such as 2024-13-45, which the loader cannot construct.
        problems.append(f"{path}: not YAML: {' '.join(str(error).split())}")
        return
    except RecursionError:
        problems.append(f"{path}: not YAML: nested too deeply")
        return
    if not contents:
        problems.append(f"{path}: empty: it declares nothing")
    for number, content in enumerate(contents, start=1):
        origin = f"{path} (document {number})" if len(contents) > 1 else str(path)
        yield Document(origin, content)


def _text(path: Path, problems: list[str]) -> str | None:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
        if len(raw) > FILE_BYTES_MAX:
            problems.append(f"{path}: larger than {FILE_BYTES_MAX} bytes: split it")
            return None
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not YAML: not UTF-8 at byte {error.start}")
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    return None
