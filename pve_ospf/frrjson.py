"""Pure: a piece of FRR's JSON that knows where it stands, for errors that name the place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from .errors import CannotTell


@dataclass(frozen=True, slots=True)
class Json:
    """A piece of an answer and where it stands in it, for the errors."""

    command: str
    path: str
    value: object

    def fail(self, expected: str) -> CannotTell:
        place = f" at {self.path[1:]}" if self.path else ""
        return CannotTell(f"'{self.command} json' is not understood{place}: "
                          f"expected {expected}, found {str(self.value)[:60]!r}")

    def mapping(self) -> Mapping[str, object]:
        if not isinstance(self.value, dict):
            raise self.fail("an object")
        return self.value

    def is_empty(self) -> bool:
        return not self.mapping()

    def has(self, key: str) -> bool:
        return key in self.mapping()

    def at(self, key: str) -> Json:
        if not self.has(key):
            raise self.fail(f"the key '{key}'")
        return Json(self.command, f"{self.path}.{key}", self.mapping()[key])

    def items(self) -> Iterator[tuple[str, Json]]:
        for key in self.mapping():
            yield key, self.at(key)

    def each(self) -> Iterator[Json]:
        if not isinstance(self.value, list):
            raise self.fail("a list")
        for number, value in enumerate(self.value):
            yield Json(self.command, f"{self.path}[{number}]", value)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail("text")
        return self.value

    def number(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fail("a number")
        return self.value

    def flag(self, key: str) -> bool:
        """A switch that many versions only mention when it is on."""
        if not self.has(key):
            return False
        found = self.at(key)
        if not isinstance(found.value, bool):
            raise found.fail("true or false")
        return found.value

    def address(self) -> IPv4Address:
        try:
            return IPv4Address(self.text())
        except AddressValueError:
            raise self.fail("an IPv4 address") from None

    def network(self, length: object = None) -> IPv4Network:
        text = self.text() if length is None else f"{self.text()}/{length}"
        try:
            return IPv4Network(text, strict=False)
        except (AddressValueError, NetmaskValueError):
            raise self.fail("an IPv4 prefix") from None
