"""One harness under atheris: `python -m tests.fuzz.one NAME SECONDS FOLDER`. Found inputs are written to the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris
import structlog

from tests.fuzz.harness import MEMORY, MODULES, harnesses

_SLOWEST: Final = 10
"""Seconds that one input may take."""


def main(name: str, seconds: str, folder: str) -> None:
    """Try inputs for so many seconds. Does not return: libFuzzer ends the process, with 0 if nothing was found."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    module = next(module for module, names in MODULES.items() if name in names)
    with atheris.instrument_imports(include=["loader", "daemon", "admin"]):
        harness = harnesses(module)[name]
    seeds, found = Path(folder) / f"{name}.seeds", Path(folder)
    seeds.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(harness.seeds):
        (seeds / f"seed-{number:03}").write_bytes(seed)
    words = found / f"{name}.words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in harness.words))
    atheris.Setup(
        [
            name,
            f"-max_total_time={seconds}",
            f"-timeout={_SLOWEST}",
            f"-rss_limit_mb={MEMORY}",
            f"-max_len={harness.longest}",
            f"-artifact_prefix={found / name}.",
            *([f"-dict={words}"] if harness.words else []),
            "-print_final_stats=1",
            str(seeds),
        ],
        harness.check,
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:4])
