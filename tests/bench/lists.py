"""How long lists take to check and import, what they weigh in the daemon, and how soon it is ready."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from loader.listfile import export_csv
from tests.bench.data import people
from tests.bench.figures import Figure, of_rounds
from tests.bench.workplace import Workplace

_SAVED_AS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "CSV UTF-8": lambda exported: exported,
    "CSV, semicolons, Windows-1252": lambda exported: _saved(exported, ";", "cp1252"),
    "Unicode text, tabs, UTF-16": lambda exported: _saved(exported, "\t", "utf-16"),
    "CSV UTF-8, all in quotes": lambda exported: _saved(exported, '","', "utf-8", quote='"'),
}
"""How spreadsheets save the list that `rollcall export` writes. No field of the bench's people holds a comma."""


def _saved(exported: bytes, delimiter: str, encoding: str, quote: str = "") -> bytes:
    lines = exported.decode("utf-8-sig").replace('"', "").splitlines()
    return "".join(f"{quote}{line.replace(',', delimiter)}{quote}\r\n" for line in lines).encode(encoding)


def run(*, large: int = 1_000_000) -> list[Figure]:
    """Times of the tool are those of whole processes; an import checks too."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        workplace = Workplace(Path(folder))
        with workplace.daemon() as empty:
            empty_memory, empty_start = empty.memory, empty.seconds_to_ready
        for count, rounds, check_goal, import_goal in ((8_000, 9, 0.1, 0.5), (large, 1, 10.0, 30.0)):
            costs: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for seed in range(rounds):
                file = Path(folder) / "list.csv"
                exported = export_csv(people(count, seed=seed))
                for name, save in _SAVED_AS.items():
                    file.write_bytes(save(exported))
                    costs[f"check {count:,} entries, {name}"].append(workplace.cost("check", str(file)))
                imported = workplace.cost("import", str(file), "--organizer", "ann")
                costs[f"check and import {count:,} entries"].append(imported)
            for name, pairs in costs.items():
                took, had = zip(*pairs, strict=True)
                goal = import_goal if "import" in name else check_goal
                figures += [of_rounds(name, took, "s", goal=goal), of_rounds(f"{name}: processor time", had, "s")]
        with workplace.daemon() as full:
            figures += [
                Figure("from start to ready, no entries", empty_start, "s"),
                Figure(f"from start to ready, {large:,} entries", full.seconds_to_ready, "s"),
                Figure("memory of the daemon, no entries", empty_memory / 2**20, "MiB"),
                Figure(f"memory an entry, {large:,} entries", (full.memory - empty_memory) / large, "bytes", goal=120),
            ]
    return figures
