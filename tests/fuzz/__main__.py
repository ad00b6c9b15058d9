"""`make fuzz`: every parser is tried with any bytes for a while, and told in a table. Exits with 1 if anything was found.

`described` holds a daemon that runs against its `/openapi.json`, and `site` asks the web site for what nobody would.
FUZZ_SECONDS is how long each is tried, FUZZ_ONLY names those that are (all, if empty), and FUZZ_JOBS is how many are
tried at the same time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.harness import MEMORY, MODULES

_GRACE: Final = 120
"""Seconds beyond those that were asked for in which a harness must have come to its end."""


class Tried(NamedTuple):
    """What came of one harness; `coverage` is in edges of the instrumented code, `memory` in MiB."""

    name: str
    inputs: int
    each_second: int
    coverage: int
    memory: int
    found: str = ""


def main() -> int:
    """Try them; the exit status."""
    seconds = float(os.environ.get("FUZZ_SECONDS") or 5)
    jobs = int(os.environ.get("FUZZ_JOBS") or os.cpu_count() or 1)
    chosen = (os.environ.get("FUZZ_ONLY") or "").split()
    every = [*(name for harnesses in MODULES.values() for name in harnesses), *_OTHERS]
    if unknown := set(chosen) - set(every):
        print(f"FUZZ_ONLY: there is no {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        return 2
    names = [name for name in every if not chosen or name in chosen]
    print(f"{'harness':<14}{'inputs':>12}{'inputs/s':>10}{'edges':>8}{'MiB':>6}  found", flush=True)
    total, found = 0, 0
    with tempfile.TemporaryDirectory(prefix="rollcall-fuzz-") as folder, ThreadPoolExecutor(jobs) as pool:

        def tried_one(name: str) -> Tried:
            other = _OTHERS.get(name)
            return _tried(name, seconds, Path(folder)) if other is None else other(seconds)

        for tried in pool.map(tried_one, names):
            total, found = total + tried.inputs, found + bool(tried.found)
            print(
                f"{tried.name:<14}{tried.inputs:>12,}{tried.each_second:>10,}{tried.coverage or '-':>8}{tried.memory or '-':>6}  "
                f"{tried.found or 'nothing'}",
                flush=True,
            )
    print(f"{'all':<14}{total:>12,}", flush=True)
    return 1 if found else 0


def _tried(name: str, seconds: float, folder: Path) -> Tried:
    command = [sys.executable, "-m", "tests.fuzz.one", name, str(max(1, round(seconds))), str(folder)]
    # What a process asks for is an error of its own, should what it uses be told too late.
    limited = ["prlimit", f"--as={8 * MEMORY * 1024 * 1024}", *command]
    try:
        done = subprocess.run(limited, capture_output=True, check=False, timeout=seconds + _GRACE)
        status, libfuzzer = done.returncode, done.stderr.decode(errors="replace")
        told = libfuzzer + done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        status, libfuzzer = -1, (expired.stderr or b"").decode(errors="replace") + "\nit did not come to an end"
        told = libfuzzer
    found = ""
    if status:
        inputs = sorted(folder.glob(f"{name}.*-*"))
        found = ", ".join(f"{one.name.removeprefix(name + '.')}: {one.read_bytes()!r}" for one in inputs) or "broke"
        # Python's word comes first; libFuzzer's has the input once more.
        raised = told.partition("=== Uncaught")[2][-3000:]
        print(f"--- {name}\n{raised}\n{libfuzzer[-1500:]}", file=sys.stderr, flush=True)
    return Tried(
        name,
        _number(r"stat::number_of_executed_units: *(\d+)", told),
        _number(r"stat::average_exec_per_sec: *(\d+)", told),
        _number(r"cov: (\d+)", told),
        _number(r"stat::peak_rss_mb: *(\d+)", told),
        found,
    )


def _described(seconds: float) -> Tried:
    command = [sys.executable, "-m", "tests.fuzz.described", str(seconds)]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    requests = _number(r"(\d+) requests, \d+ MiB", done.stdout)
    memory = _number(r"\d+ requests, (\d+) MiB", done.stdout)
    return _told("described", done, requests, begun, memory)


_ROLES: Final = 8
"""Users whose browsers ask the site, nobody among them."""


def _site(seconds: float) -> Tried:
    requests = max(20, round(seconds * 6))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={seconds + _GRACE}"]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "tests/unit/admin/test_odd_requests.py"],
        env=os.environ | {"FUZZ_REQUESTS": str(requests)},
        capture_output=True,
        text=True,
        check=False,
    )
    return _told("site", done, requests * _ROLES, begun, 0)


def _told(name: str, done: subprocess.CompletedProcess[str], requests: int, begun: float, memory: int) -> Tried:
    """What came of a program that tells all that it has found."""
    found = ""
    if done.returncode:
        found = "see above"
        print(f"--- {name}\n{(done.stdout + done.stderr)[-6000:]}", file=sys.stderr, flush=True)
    return Tried(name, requests, round(requests / (time.monotonic() - begun)), 0, memory, found)


_OTHERS: Final = {"described": _described, "site": _site}


def _number(pattern: str, told: str) -> int:
    """The last number that was told so; 0 if none was."""
    return int((re.findall(pattern, told) or [0])[-1])


if __name__ == "__main__":
    sys.exit(main())
