"""What may be said on the command line for addresses and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wangell_daemon.settings import parse_address, parse_duration_s, parse_patterns


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.46.100.3:7946", ("10.46.100.3", 7946)),
        ("[fd00::5]:7946", ("fd00::5", 7946)),
        ("controller.wangell.svc:1", ("controller.wangell.svc", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "7946", "10.0.0.1", "10.0.0.1:", ":7946", "10.0.0.1:http", "10.0.0.1:0"),
        *("10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:+80", "10.0.0.1: 80", "10.0.0.1:80 "),
        *("10.0.0.1:8²", "10.0.0.1:" + "9" * 5000),
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 10\.46\.100\.3:7946"):
        parse_address(text)


@given(st.ip_addresses(v=4).map(str), st.integers(1, 65535))
def test_any_ipv4_address_comes_back(host: str, port: int) -> None:
    assert parse_address(f"{host}:{port}") == (host, port)


@given(st.ip_addresses(v=6).map(str), st.integers(1, 65535))
def test_any_ipv6_address_comes_back_out_of_its_brackets(host: str, port: int) -> None:
    assert parse_address(f"[{host}]:{port}") == (host, port)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_the_one_error(text: str) -> None:
    try:
        host, port = parse_address(text)
    except ValueError:
        return
    assert host
    assert 0 < port < 65536


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500us", 0.0005), ("5ms", 0.005), ("1s", 1.0), ("1.5s", 1.5), ("0.5m", 30.0), ("60m", 3600)],
)
def test_durations_are_read_in_their_unit(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "ms", "5 ms", "5MS", "-5ms", "+5ms", "1e3ms", ".5s", "5.s", "1h", "5ms5s", "nan s"],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration, such as 500us, 5ms or 1s"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["0s", "0ms", "0.0us", "99us", "61m", "9" * 400 + "s"])
def test_no_duration_makes_a_loop_spin_or_sleep_for_ever(text: str) -> None:
    with pytest.raises(ValueError, match="between 100us and 60m"):
        parse_duration_s(text)


@given(st.text(alphabet="0123456789.smu ", max_size=12))
def test_any_text_is_a_duration_or_the_one_error(text: str) -> None:
    try:
        assert 0 < parse_duration_s(text) <= 3600
    except ValueError:
        return


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("auto", ("auto",)),
        ("none", ()),
        ("cali*", ("cali*",)),
        ("auto,tap[0-9]*,vnet?", ("auto", "tap[0-9]*", "vnet?")),
    ],
)
def test_interfaces_of_pods_are_named_by_patterns(text: str, patterns: tuple[str, ...]) -> None:
    assert parse_patterns(text) == patterns


@pytest.mark.parametrize("text", ["", ",", "a,", ",a", "a b", "a, b", "a/b", "a:b", "x" * 33])
def test_what_can_be_no_interfaces_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not auto, none or names .*, such as cali\*,tap\*"):
        parse_patterns(text)
