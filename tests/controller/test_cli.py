"""The command line: what it says, to whom, and how it exits."""

import os
from pathlib import Path

import pytest
import yaml

from tests.controller.helpers import manifest
from wangell_controller import cli
from wangell_controller.settings import parse_address, parse_seconds

RUN = ["run", "--manifests", "m", "--local", "l", "--listen", "127.0.0.1:0", "--key-dir", "k"]


def usage_error(*argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(argv))
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_help_teaches_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "wangell-controller run --manifests samples/ --local local.yaml" in said
    assert "netns: /run/netns/pod1" in said


def test_the_examples_local_file_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    from wangell_controller.backends.local import LocalSettings  # noqa: PLC0415

    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out.partition("namespace:\n")[2].partition("\n\nEach node")[0]
    assert list(LocalSettings.model_validate(yaml.safe_load(text)).services) == [
        "default/serverless-example"
    ]


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = capsys.readouterr().out
    for option in ("--manifests", "--local", "--listen", "--key-dir", "--run-dir", "--status-file"):
        assert option in said


def test_validate_lists_what_is_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump_all([manifest(), manifest(metadata__name="b")]))
    assert cli.main(["validate", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "default/serverless-example: port 80 -> 8080, zero after 1800 s",
        "default/b: port 80 -> 8080, zero after 1800 s",
    ]


def test_validate_says_all_that_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump(manifest(spec__port=0, kind="Pod")))
    assert cli.main(["validate", str(file), str(tmp_path / "none")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"wangell-controller: {file}: kind: should be 'WangellService', got 'Pod'",
        f"wangell-controller: {file}: spec.port: should be greater than or equal to 1, got 0",
        f"wangell-controller: {tmp_path}/none: cannot be read: No such file or directory",
    ]


def test_keygen_says_what_goes_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["keygen", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/controller.key",
        f"{tmp_path}/controller.pub",
        f"{tmp_path}/psk",
        "Give controller.pub and psk to every daemon; controller.key stays here.",
    ]
    before = (tmp_path / "psk").read_text()
    assert cli.main(["keygen", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "psk").read_text() == before


def test_keygen_where_nothing_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["keygen", "/proc/wangell"]) == 1
    assert capsys.readouterr().err == (
        "wangell-controller: /proc/wangell: No such file or directory\n"
    )


def test_without_a_command_it_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in usage_error(capsys=capsys)
    assert "invalid choice" in usage_error("rum", capsys=capsys)
    assert "--manifests" in usage_error("run", capsys=capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("controller:7946", "is not ADDRESS:PORT, such as 10.46.100.3:7946"),
        ("7946", "is not ADDRESS:PORT"),
        ("10.0.0.1:", "has no port from 0 to 65535"),
        ("10.0.0.1:65536", "has no port from 0 to 65535"),
        ("10.0.0.1:-1", "has no port from 0 to 65535"),
        ("10.0.0.300:1", "is not ADDRESS:PORT"),
        ("", "is not ADDRESS:PORT"),
    ],
)
def test_a_wrong_address_is_usage_and_says_what_is_right(
    capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert message in usage_error(*RUN, "--metrics-address", text, capsys=capsys)


def test_addresses_of_both_families() -> None:
    assert parse_address("10.46.100.3:7946") == ("10.46.100.3", 7946)
    assert parse_address("[::1]:7946") == ("::1", 7946)
    assert parse_address("0.0.0.0:0") == ("0.0.0.0", 0)


@pytest.mark.parametrize("text", ["0", "0.5", "3601", "inf", "nan", "-5", "60s", ""])
def test_a_wrong_timeout_is_usage(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert "argument --activation-timeout" in usage_error(
        *RUN, f"--activation-timeout={text}", capsys=capsys
    )


def test_seconds() -> None:
    assert [parse_seconds(text) for text in ("1", "2.5", "3600")] == [1.0, 2.5, 3600.0]


def test_not_being_root_names_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert cli.main(RUN) == 1
    assert capsys.readouterr().err == (
        "wangell-controller: not root: starting servers in network namespaces needs it."
        " Try: sudo ...\n"
    )


def test_missing_keys_are_named_before_anything_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli.main(RUN) == 1
    assert "make keys with `wangell-controller keygen k`" in capsys.readouterr().err
