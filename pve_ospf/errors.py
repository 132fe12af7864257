"""The errors a person sees: one line that names thing, place and way out, and an exit code."""

from __future__ import annotations


class PveOspfError(Exception):
    """Base of everything the command reports and exits on.

    `message` is one line that names the thing and the place; `hint` is the way out and may
    have several lines (commands or configuration to paste).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(PveOspfError):
    """We could, but it would do harm (exit 1): nothing was changed."""


class ConfigError(PveOspfError):
    """Wrong use or wrong configuration (exit 2): nothing was changed."""

    exit_code = 2


class CannotTell(PveOspfError):
    """Something could not be read (exit 3). Never to be taken for "there is nothing"."""

    exit_code = 3
