"""`make run` as a new user meets it: paste the curl, edit a PIN, paste it again."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.integration.demo import IN_FORCE_WITHIN, Demo, environment, folder, start

__all__ = ["environment", "folder", "start"]


def processes_in(folder: Path) -> list[str]:
    """The command lines of the processes that work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
    return found


def test_the_demo_as_a_new_user_meets_it(folder: Path, start: Callable[[], Demo]) -> None:
    """The pasted curl is answered; an edited PIN is in force at once, and still so after a second run."""
    demo = start()
    answer = demo.ask()
    assert answer["result"] == "accepted"
    assert (answer["participant"]["first_name"], answer["participant"]["last_name"]) == ("Mike", "Doe")
    assert answer["list"] == {"level": "organizer", "revision": 1}
    token_file = folder / "var" / "demo-token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()

    file = folder / "configs" / "demo" / "lists" / "organizer-alicia.csv"
    original = file.read_text()
    file.write_text(original.replace("004127", "004128"))
    edited = demo.paste(_rollcall(demo))
    done = time.monotonic()
    assert "added 1, changed 0, removed 1, unchanged 3, revision 2" in edited
    while (answer := demo.ask())["result"] == "accepted":
        assert time.monotonic() < done + IN_FORCE_WITHIN
    assert answer["reason"] == "unknown_pin"

    # The demo, both services, and the keeper of rolls.
    assert len(processes_in(folder)) == 4
    assert demo.end(signal.SIGINT) == 0
    assert processes_in(folder) == []
    assert "Traceback" not in demo.output

    file.write_text(original)
    demo = start()
    assert demo.ask()["reason"] == "unknown_pin"
    assert token_file.read_text() == token
    assert demo.end(signal.SIGTERM) == 0
    assert processes_in(folder) == []
    assert "Traceback" not in demo.output


def _rollcall(demo: Demo) -> str:
    """How the printed line that calls the tool begins."""
    (start,) = re.findall(r"^ +(\S*rollcall) --config", demo.output, re.MULTILINE)
    return str(start)


def test_a_port_in_use_is_told_plainly(folder: Path, environment: dict[str, str]) -> None:
    """One line names the port and the variable that chooses another; nothing is made, nothing is left running."""
    port = int(environment["ROLLCALL_DAEMON__OPS_PORT"])
    with closing(socket.create_server(("127.0.0.1", port))):
        done = subprocess.run(
            [sys.executable, "-m", "configs.demo.run"],
            check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"demo: port {port} on 127.0.0.1 is in use; choose another with ROLLCALL_DAEMON__OPS_PORT=...\n"
    )
    assert not (folder / "var").exists()


def test_the_demos_users_sign_in_with_the_password_that_it_prints(
    folder: Path, environment: dict[str, str], start: Callable[[], Demo]
) -> None:
    """It is another one in every clone, and the same after a second run."""
    demo = start()
    password = (folder / "var" / "demo-password").read_text().strip()
    assert f"with the password {password} as" in demo.output
    site = f"http://127.0.0.1:{environment['ROLLCALL_ADMIN__PORT']}"
    with urllib.request.urlopen(f"{site}/signin") as page:
        assert "Rollcall" in page.read().decode()
    assert demo.end(signal.SIGTERM) == 0
    assert "Traceback" not in demo.output
