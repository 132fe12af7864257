"""Pure: what a key of a configuration takes, checked and converted; what is wrong, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any


class Wrong(Exception):
    """A value is not what its key takes; `at` is the place below the key."""

    def __init__(self, problem: str, at: str = "") -> None:
        super().__init__(problem)
        self.problem, self.at = problem, at


def as_mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise Wrong(f"expected 'key: value' lines, found {value!r}")
    return value


def as_integer(low: int, high: int, unit: str = "") -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Wrong(f"{value!r} is not a whole number {low}-{high}{unit}")
    return convert


def as_truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{value!r} is neither true nor false")
    return value


def as_address(value: Any) -> IPv4Address:
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except AddressValueError:
        raise Wrong(f"{value!r} is not an IPv4 address") from None


def as_area(value: Any) -> IPv4Address:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return IPv4Address(value)
    try:
        return as_address(value)
    except Wrong:
        raise Wrong(f"{value!r} is not an area: a number or a dotted quad") from None


def as_network(value: Any) -> IPv4Network:
    try:
        return IPv4Network(value if isinstance(value, str) else "")
    except (AddressValueError, NetmaskValueError):
        raise Wrong(f"{value!r} is not an IPv4 prefix such as 198.51.100.0/24") from None
    except ValueError:
        network = IPv4Network(value, strict=False)
        raise Wrong(f"{value} has host bits set; did you mean {network}?") from None


def as_list(value: Any, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise Wrong(f"expected a list of {of}, found {value!r}")
    return value


def as_names(value: Any, pattern: re.Pattern[str]) -> tuple[str, ...]:
    for name in as_list(value, "interface names"):
        if not isinstance(name, str) or not pattern.fullmatch(name):
            raise Wrong(f"{name!r} is not an interface name (1-15 characters)")
    return tuple(value)
