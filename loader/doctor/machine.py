"""The machine: room on its disks, its clock, and how many files a process may have open."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import AsyncIterator
from typing import Final

from loader.doctor.finding import Finding, Installation, ok, warning, wrong

_MEGABYTE: Final = 1_000_000
_LEAST_BYTES: Final = 50 * _MEGABYTE
"""With less, the next large list does not fit."""
_ENOUGH_BYTES: Final = 500 * _MEGABYTE
_LEAST_FILES: Final = 100
_ENOUGH_DESCRIPTORS: Final = 16_384
_TIME_ERROR: Final = 5
"""What adjtimex(2) returns while nothing disciplines the clock."""


async def disks(installation: Installation) -> AsyncIterator[Finding]:
    """Whether there is room for what comes, and for a copy that is put back: that takes three times the database's size."""
    database = installation.database
    size = database.stat().st_size if database is not None and database.exists() else 0
    enough = max(_ENOUGH_BYTES, 3 * size)
    folders = [installation.journal, *([database.parent] if database is not None else [])]
    seen: set[int] = set()
    for folder in folders:
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
        device = there.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        disk = os.statvfs(there)
        free = disk.f_bavail * disk.f_frsize
        told = f"{free // _MEGABYTE:,} MB are free on the disk of {there}"
        if free < _LEAST_BYTES:
            yield wrong("disk", f"{told}: soon nothing can be changed, and rolls are lost", "make room")
        elif disk.f_files and disk.f_favail < _LEAST_FILES:
            yield wrong("disk", f"only {disk.f_favail} more files fit on the disk of {there}", "delete files there")
        elif free < enough:
            yield warning(
                "disk", f"{told}: it may not be enough to put a copy back", f"have {enough // _MEGABYTE:,} MB free"
            )
        else:
            yield ok("disk", told)


async def clock(_installation: Installation) -> AsyncIterator[Finding]:
    """Whether something keeps the clock right, as far as the system tells: adjtimex(2), asked and not changed."""
    try:
        # The structure has 208 bytes; all 0 changes nothing.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))
    except (OSError, AttributeError):
        state = -1
    if state == _TIME_ERROR:
        yield warning(
            "clock",
            "nothing keeps this machine's clock right: times on rolls, codes of second factors and ends of certificates drift",
            "run systemd-timesyncd or chrony",
        )
    elif state < 0:
        yield ok("clock", "the system does not say whether something keeps it right")
    else:
        yield ok("clock", "something keeps it right")


async def descriptors(_installation: Installation) -> AsyncIterator[Finding]:
    """Whether as many callers fit as may come at once: each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _ENOUGH_DESCRIPTORS:
        yield warning(
            "open files",
            f"a process started from here may have {hard:,} open: more callers than that at once are turned away",
            "set LimitNOFILE= in the unit, or ulimit -Hn",
        )
    else:
        yield ok("open files", "a process started from here may have enough open")


async def cores(installation: Installation) -> AsyncIterator[Finding]:
    """Whether the daemon has no more processes than there are cores for them."""
    workers, cores = installation.settings.daemon.workers, len(os.sched_getaffinity(0))
    if workers > cores:
        yield warning(
            "workers",
            f"daemon.workers is {workers}, and there are {cores} cores: more processes than cores are slower, not faster",
            f"set it to {cores} or less",
        )
    elif workers > 1:
        yield ok("workers", f"daemon.workers is {workers}, of {cores} cores")
