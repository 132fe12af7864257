"""`make bench [PART="hooks moves"]`: the product's figures, each beside its floor or baseline.

Everything is measured in the same run, the sides of a comparison in turn. Prints Markdown, as
in BENCHMARKS.md, and progress on standard error. Exits 1 only when a hard condition fails:
a hook or a connection lost, or an announcement slower than 1.5 × bare plus the hook.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .failure import loss
from .figures import Table, say
from .hooks import hooks
from .labs import Labs
from .moves import containers, machines
from .paths import paths
from .thousand import concurrent, thousand

PARTS: dict[str, Callable[[Labs], list[Table]]] = {
    "hooks": hooks,
    "thousand": thousand,
    "concurrent": concurrent,
    "paths": paths,
    "loss": loss,
    "containers": containers,
    "vms": machines,
}


def main(deb: Path, names: list[str]) -> int:
    unknown = set(names) - PARTS.keys()
    if unknown:
        say(f"no such part: {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
        return 2
    tables: list[Table] = []
    began = time.monotonic()
    with ExitStack() as stack:
        labs = Labs(deb, stack)
        for name in names or PARTS:
            say(f"== {name} ({time.monotonic() - began:.0f} s; load {_load()})")
            found = PARTS[name](labs)
            found[0].notes.append(f"load average at the end of this part: {_load()}")
            for table in found:
                print(table.text(), flush=True)
            tables += found
        print(_machine(labs), flush=True)
    say(f"done in {time.monotonic() - began:.0f} s")
    missed = [v.text for table in tables for v in table.verdicts if not v.held]
    print(f"goals missed: {len(missed)}" + "".join(f"\n- {text}" for text in missed))
    return 1 if any(table.failed for table in tables) else 0


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _machine(labs: Labs) -> str:
    cpu = next((line.partition(":")[2].strip() for line in
                Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
               platform.machine())
    node = labs.ours.node("pve1")
    frr = node.sh("dpkg-query -W -f '${Version}' frr")
    return (f"{os.cpu_count()} × {cpu}, Linux {platform.release()}, "
            f"FRR {frr}, {node.sh('python3 --version')}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
