"""The command line: what it accepts, and what it says to whom it refuses."""

import base64
import os
from pathlib import Path

import pytest

from wangell_daemon import cli, lock
from wangell_daemon.lock import AlreadyServedError
from wangell_daemon.settings import Readiness, Settings, Workload

RUN = [
    "run",
    "--interface",
    "eth0",
    "--controller",
    "10.46.100.3:7946",
    "--key-dir",
    "/etc/wangell",
]


@pytest.fixture
def settings_seen(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `run` would serve with; nothing is served."""
    seen: list[Settings] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli, "run", seen.append)
    return seen


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("controller.pub", "psk"):
        (tmp_path / name).write_text(base64.b64encode(bytes(32)).decode() + "\n")
    return tmp_path


def usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is printed for arguments that are wrong; exit status 2."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


# What is accepted.


def test_the_defaults_are_a_listening_daemon_on_the_default_route(
    settings_seen: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "default_interface", lambda: "ens5")
    assert cli.main(["run", "--controller", "c:1", "--key-dir", "/k", "--node-name", "n"]) == 0
    (settings,) = settings_seen
    assert settings == Settings(
        interface="ens5",
        pod_interfaces=("auto",),
        node_name="n",
        controllers=(("c", 1),),
        key_dir=Path("/k"),
        credential_file=None,
        workload=Workload.NETNS,
        cgroup_root="/",
        readiness=Readiness.LISTEN,
        probe_interval_s=0.005,
        metrics_address=None,
        health_address=None,
        cold_start_log=None,
    )


def test_everything_may_be_said(settings_seen: list[Settings]) -> None:
    more = [
        *("--controller", "[fd00::5]:7946", "--node-name", "node1", "--readiness", "both"),
        *("--probe-interval", "500us", "--metrics-address", "127.0.0.1:9100"),
        *("--health-address", "127.0.0.1:7947"),
        *("--cold-start-log", "/tmp/log", "--credential-file", "/token"),
        *("--workload", "cgroup", "--cgroup-root", "/node", "--pod-interfaces", "cali*,tap0"),
    ]
    assert cli.main([*RUN, *more]) == 0
    (settings,) = settings_seen
    assert (settings.interface, settings.pod_interfaces) == ("eth0", ("cali*", "tap0"))
    assert settings.controllers == (("10.46.100.3", 7946), ("fd00::5", 7946)), "in their order"
    assert settings.readiness is Readiness.BOTH
    assert settings.probe_interval_s == pytest.approx(0.0005)
    assert settings.metrics_address == ("127.0.0.1", 9100)
    assert settings.health_address == ("127.0.0.1", 7947)
    assert settings.workload is Workload.CGROUP
    assert (settings.cgroup_root, settings.credential_file) == ("/node", Path("/token"))


def test_the_node_is_named_after_the_host(settings_seen: list[Settings]) -> None:
    cli.main(RUN)
    assert settings_seen[0].node_name == os.uname().nodename


# What is refused.


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--probe-interval", "5"], "'5' is not a duration, such as 500us, 5ms or 1s"),
        (["--probe-interval", "0ms"], "'0ms': a duration lies between 100us and 60m"),
        (["--controller", "10.0.0.1"], "'10.0.0.1' is not HOST:PORT, such as 10.46.100.3:7946"),
        (["--controller", "10.0.0.1:99999"], "is not HOST:PORT"),
        (["--metrics-address", "9100"], "'9100' is not HOST:PORT"),
        (["--pod-interfaces", "cali*, tap*"], "is not auto, none or names of interfaces"),
        (["--readiness", "never"], "invalid choice: 'never'"),
        (["--workload", "pid"], "invalid choice: 'pid'"),
        (["--turbo"], "unrecognized arguments: --turbo"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(
    more: list[str],
    complaint: str,
    settings_seen: list[Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = usage_error([*RUN, *more], capsys)
    assert complaint in said
    assert said.startswith("usage: wangell-daemon")
    assert settings_seen == []


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ([], "COMMAND"),
        (["run", "--key-dir", "/k"], "--controller"),
        (["run", "--controller", "c:1"], "--key-dir"),
        (["serve"], "invalid choice: 'serve'"),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert missing in usage_error(arguments, capsys)


@pytest.mark.parametrize("arguments", [RUN, ["uninstall", "--interface", "eth0"]])
def test_not_being_root_is_said_with_the_remedy(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it went on")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for step in ("run", "uninstall"):
        monkeypatch.setattr(cli, step, never)
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("wangell-daemon: not root:")
    assert "sudo wangell-daemon" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_missing_key_is_said_before_anything_is_touched(
    as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--interface", "lo", "--controller", "c:1", "--key-dir", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert f"wangell-controller keygen {tmp_path}" in capsys.readouterr().err


def test_a_wrong_key_names_its_file(
    as_root: None, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (keys / "psk").write_text("clé")
    arguments = ["run", "--interface", "lo", "--controller", "c:1", "--key-dir", str(keys)]
    assert cli.main(arguments) == 1
    assert f"{keys}/psk: not a key" in capsys.readouterr().err


def test_an_interface_that_does_not_exist_is_said_with_those_that_do(
    as_root: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lock, "LOCK_DIR", tmp_path)
    assert cli.main(["uninstall", "--interface", "wt-missing"]) == 1
    said = capsys.readouterr().err
    assert "no interface 'wt-missing' here; there are: " in said
    assert "lo" in said


@pytest.mark.parametrize(
    "error",
    [
        AlreadyServedError("another daemon (pid 7) serves eth0; stop it first"),
        OSError(98, "In use"),
    ],
)
def test_what_goes_wrong_is_one_line_and_status_1(
    error: Exception,
    as_root: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_settings: Settings) -> None:
        raise error

    monkeypatch.setattr(cli, "run", fail)
    assert cli.main(RUN) == 1
    assert capsys.readouterr().err == f"wangell-daemon: {error}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["uninstall", "--help"]])
def test_help_is_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: wangell-daemon")
    assert printed.err == ""


def test_help_names_every_option_of_run_with_a_word_about_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = capsys.readouterr().out
    for option in (
        *("--interface", "--controller", "--key-dir", "--credential-file", "--workload"),
        *("--cgroup-root", "--node-name", "--readiness", "--probe-interval"),
        *("--metrics-address", "--cold-start-log"),
    ):
        assert option in said


def test_the_overview_shows_an_example_and_what_uninstall_is_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert "wangell-daemon run --interface eth0 --controller" in said
    assert "uninstall" in said
