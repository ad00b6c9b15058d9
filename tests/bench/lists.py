"""How long lists take to check and import, what they weigh in the daemon, and how soon it is ready."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure
from tests.bench.workplace import Workplace


def run(*, large: int = 1_000_000) -> list[Figure]:
    """Times of the tool are those of whole processes; an import checks too."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        with workplace.daemon() as empty:
            empty_memory, empty_start = empty.memory, empty.seconds_to_ready
        for count, rounds, goal in ((8_000, 5, 0.5), (large, 1, 30.0)):
            files = [Path(folder) / f"{count}-{seed}.csv" for seed in range(rounds)]
            for seed, file in enumerate(files):
                file.write_bytes(export_csv(people(count, seed=seed)))
            checks = [workplace.timed("check", str(file)) for file in files]
            imports = [workplace.timed("import", str(file), "--organizer", "ann") for file in files]
            figures += [
                Figure(f"check {count:,} entries", median(checks), "s"),
                Figure(f"check and import {count:,} entries", median(imports), "s", goal=goal),
            ]
        with workplace.daemon() as full:
            figures += [
                Figure("from start to ready, no entries", empty_start, "s"),
                Figure(f"from start to ready, {large:,} entries", full.seconds_to_ready, "s"),
                Figure("memory of the daemon, no entries", empty_memory / 2**20, "MiB"),
                Figure(f"memory an entry, {large:,} entries", (full.memory - empty_memory) / large, "bytes", goal=120),
            ]
    return figures
