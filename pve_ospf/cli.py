"""The command `pve-ospf`: arguments, exit codes, and the only place that prints."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from . import __version__
from .errors import PveOspfError
from .secrecy import hidden

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from .sync import Result

_DESCRIPTION = """\
Announces the addresses of this node's running guests with OSPF.

Put the prefixes your guests may use into /etc/pve/pve-ospf.yaml, then:
  pve-ospf apply               show the OSPF configuration's diff and install it
  pve-ospf attach 101 104      these guests are announced while they run
  pve-ospf check               do running guests and announced addresses agree?
"""
_EPILOG = """\
exit status:
  0 good   1 findings, or refused   2 wrong use or configuration   3 cannot tell

files:
  /etc/pve/pve-ospf.yaml       configuration, for the whole cluster
  /etc/pve-ospf/config.yaml    the same, where there is no cluster

Full description: man pve-ospf
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; every error of ours ends here as one line and an exit code."""
    sys.stdout, sys.stderr = _as_long_as_read(sys.stdout), _as_long_as_read(sys.stderr)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except PveOspfError as error:
        print(hidden(f"pve-ospf: {error.message}"), file=sys.stderr)
        if error.hint:
            print(hidden(error.hint), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("pve-ospf: interrupted", file=sys.stderr)
        return 130
    except PermissionError as error:
        print(f"pve-ospf: {error.filename or 'the kernel'}: permission denied; run it as root",
              file=sys.stderr)
        return 3


class _Pipe(io.FileIO):
    """What is written after the reader has gone (`pve-ospf check | head -1`) is for nobody, and
    no reason to stop: `apply` may be in the middle of a change."""

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _as_long_as_read(stream: TextIO) -> TextIO:
    if stream is None:  # closed by the caller
        return stream
    pipe = _Pipe(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(pipe), encoding=stream.encoding,
                            errors=stream.errors, line_buffering=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pve-ospf", description=_DESCRIPTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"pve-ospf {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    apply = _command(commands, "apply", _apply, "install the OSPF configuration, showing its diff")
    apply.add_argument("--dry-run", action="store_true", help="show the diff, change nothing")
    apply.add_argument("--force", action="store_true",
                       help="also when a neighbour would be lost (other timers, area, router id)")
    apply.add_argument("--confirm", metavar="SECONDS", type=_seconds,
                       help="take it back after SECONDS, unless `pve-ospf confirm` is said")
    _command(commands, "confirm", _confirm, "keep what `apply --confirm` installed")
    for name, run, text in (("attach", _attach, "announce these guests while they run"),
                            ("detach", _detach, "stop announcing these guests")):
        _command(commands, name, run, text).add_argument(
            "vmid", metavar="VMID", type=_vmid, nargs="+")
    check = _command(commands, "check", _check, "compare running guests with what is announced")
    check.add_argument("--json", action="store_true", help="for programs: stable keys")
    check.add_argument("--what-if", action="store_true",
                       help="also: would guests' traffic cross a tunnel if any one link failed?")
    generate = _command(commands, "generate", _generate,
                        "print the OSPF configuration of this node")
    generate.add_argument("--router", action="store_true",
                          help="print what its routers need, instead")
    sync = _command(commands, "sync", _sync, "make routes and entries what they should be")
    sync.add_argument("--dry-run", action="store_true", help="show the changes, make none")
    _command(commands, "agent", _agent, "what pve-ospf.service runs: keep this node right")
    _command(commands, "cleanup", _cleanup, None)
    _command(commands, "guard", _guard, None)
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str,
             run: Callable[[argparse.Namespace], int], text: str | None
             ) -> argparse.ArgumentParser:
    """A subcommand; one without a text is for the package's own scripts and is not listed."""
    parser = (commands.add_parser(name, help=text, description=text) if text
              else commands.add_parser(name))
    parser.set_defaults(run=run)
    return parser


def _vmid(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 100 <= int(text) <= 999_999_999):
        raise argparse.ArgumentTypeError(f"{text!r} is not a VMID (100-999999999)")
    return int(text)


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 5 <= int(text) <= 86400):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds (5-86400)")
    return int(text)


def _say(line: str) -> None:
    """Whatever a line quotes, of FRR's or an administrator's, no key is shown."""
    print(hidden(line), flush=True)


# Each command imports what it needs: `--help` and a wrong argument answer at once, without
# the quarter of a second that pyroute2 costs.

def _apply(options: argparse.Namespace) -> int:
    from .apply import apply  # noqa: PLC0415
    from .guard import wait  # noqa: PLC0415
    from .sync import sync  # noqa: PLC0415
    record = apply(options.dry_run, options.force, options.confirm, _say)
    if options.dry_run:
        return 0
    # Forwarding and the guests' gateway belong to a node that is set up, guests or not. What
    # is the matter with a guest is told, but the configuration is installed all the same.
    try:
        failed = _tell(sync(), "")
    finally:
        if record is not None:
            wait(record, _say)
    return 1 if failed else 0


def _confirm(_options: argparse.Namespace) -> int:
    from .guard import confirm  # noqa: PLC0415
    confirm(_say)
    return 0


def _guard(_options: argparse.Namespace) -> int:
    from .guard import guard  # noqa: PLC0415
    guard()
    return 0


def _generate(options: argparse.Namespace) -> int:
    from .apply import generate  # noqa: PLC0415
    from .frrplan import for_routers  # noqa: PLC0415
    print(for_routers() if options.router else generate(), end="")
    return 0


def _check(options: argparse.Namespace) -> int:
    from .readings import run  # noqa: PLC0415
    return run(as_json=options.json, what_if=options.what_if, out=_say)


def _attach(options: argparse.Namespace) -> int:
    from .attach import attach  # noqa: PLC0415
    return 0 if attach(options.vmid, _say) else 1


def _detach(options: argparse.Namespace) -> int:
    from .attach import detach  # noqa: PLC0415
    return 0 if detach(options.vmid, _say) else 1


def _sync(options: argparse.Namespace) -> int:
    from .sync import sync  # noqa: PLC0415
    result = sync(dry_run=options.dry_run)
    failed = _tell(result, "would " if options.dry_run else "")
    return 1 if failed or (result and result.findings) else 0


def _agent(_options: argparse.Namespace) -> int:
    from .agent import Agent  # noqa: PLC0415
    return Agent().run()


def _tell(result: Result | None, before: str) -> bool:
    """Prints what a sync did and found; whether any of it failed."""
    if result is None:
        return False
    for change in result.plan.changes if before else result.done:
        print(f"{before}{change}")
    for change_text, reason in result.failed:
        print(f"pve-ospf: {change_text} failed: {reason}", file=sys.stderr)
    for finding in result.findings:
        print(f"pve-ospf: {finding.subject}: {finding.message}", file=sys.stderr)
        if finding.fix:
            print(f"  {finding.fix}", file=sys.stderr)
    return bool(result.failed)


def _cleanup(_options: argparse.Namespace) -> int:
    """Before the package goes: everything of ours out of FRR and the kernel."""
    from .removal import restore  # noqa: PLC0415
    from .sync import remove_all  # noqa: PLC0415
    try:
        restore(_say)
    finally:
        failed = remove_all()
        for change_text, reason in failed:
            print(f"pve-ospf: {change_text} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0
