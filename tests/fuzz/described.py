"""What `/openapi.json` says against a daemon that runs, by schemathesis: `python -m tests.fuzz.described SECONDS`.

Its last line has the requests and the most memory that the daemon took, in MiB.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.integration.processes import PROGRAMS, Daemon, Installation

_ROOT: Final = Path(__file__).parents[2]
_CONFIGURATION: Final = """\
[checks]
negative_data_rejection.expected-statuses = ["400", "401", "404", "406", "413", "415", "422"]
"""
"""What is wrong may be too large as well: 413 refuses it."""
_EXAMPLES_A_SECOND: Final = 10
"""Of each kind for each address: about a third of what it comes to."""


def main(seconds: float) -> int:
    """Ask for about so long; the exit status: 1 if the description or the daemon is wrong."""
    with tempfile.TemporaryDirectory(prefix="rollcall-fuzz-") as folder:
        installation = Installation(Path(folder))
        token = installation.set_up()
        installation.put("004127", "1234")
        daemon = installation.daemon()
        try:
            daemon.wait_until_ready()
            # The call of the examples, so that there is one to be joined and left.
            assert daemon.admits(token, "1732456800.17", "004127")
            told = _asked(daemon, token, max(5, round(seconds * _EXAMPLES_A_SECOND)), folder)
            memory = _most_memory(daemon)
        finally:
            daemon.kill()
        errors = [line for line in daemon.events if line["level"] in ("error", "critical")]
    print(told)
    for line in errors:
        print(line)
    (generated,) = re.findall(r"(\d+) generated", told) or ["0"]
    print(f"{generated} requests, {memory} MiB")
    return 1 if errors or "❌" in told or not int(generated) else 0


def _asked(daemon: Daemon, token: str, examples: int, folder: str) -> str:
    """All that schemathesis says."""
    (Path(folder) / "schemathesis.toml").write_text(_CONFIGURATION)
    command = [
        str(PROGRAMS / "schemathesis"),
        "run",
        f"http://127.0.0.1:{daemon.port}/openapi.json",
        f"--header=Authorization: Bearer {token}",
        "--checks=all",
        f"--max-examples={examples}",
        "--continue-on-failure",
        "--generation-database=none",
        "--no-color",
    ]
    hooks = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, cwd=folder, env=hooks, capture_output=True, text=True, check=False)
    # The command of a failure has the token, which is this daemon's alone.
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"\n❌ exit status {done.returncode}")


def _most_memory(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+)", status)
    return int(kilobytes) // 1024


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
