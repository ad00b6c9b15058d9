"""How long lists take to check and import, what they weigh in the daemon, and how soon it is ready."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.workplace import Workplace


def run(*, large: int = 1_000_000) -> dict[str, float]:
    """Figures in seconds and bytes; the tool's times are those of whole processes."""
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        with workplace.daemon() as empty:
            empty_memory, empty_start = empty.memory, empty.seconds_to_ready
        figures = {"start, empty (s)": empty_start}
        for count, rounds in ((8_000, 5), (large, 1)):
            files = [Path(folder) / f"{count}-{seed}.csv" for seed in range(rounds)]
            for seed, file in enumerate(files):
                file.write_bytes(export_csv(people(count, seed=seed)))
            figures[f"check {count:,} (s)"] = median(workplace.timed("check", str(file)) for file in files)
            figures[f"import {count:,} (s)"] = median(
                workplace.timed("import", str(file), "--organizer", "ann") for file in files
            )
        with workplace.daemon() as full:
            figures[f"start, {large:,} entries (s)"] = full.seconds_to_ready
            figures["bytes an entry"] = (full.memory - empty_memory) / large
    return figures
