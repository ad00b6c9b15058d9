"""How the tool is called, and how it ends."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

_ROLLCALL = str(Path(sys.executable).with_name("rollcall"))


@pytest.mark.parametrize(
    "call",
    [
        "",
        "frobnicate",
        "check",
        "check list.csv --limits some",
        "check list.csv --format xml",
        "check list.csv --lang tlh",
        "import list.csv",
        "import list.csv --organizer a --company b",
        "export",
        "switch",
        "switch add",
        "switch add -",
        "switch add a|b",
        "lookup 7784321",
        "directory",
        "key",
        "status --conf x",
        "backup",
        "backup copies --keep 0",
        "backup copies --keep some",
        "backup nowhere --keep 3",
        "restore",
        "doctor --format xml",
    ],
)
def test_a_wrong_call_is_2(run: Callable[..., tuple[int, str, str]], call: str) -> None:
    """What the command line does not know ends in status 2, with a word on standard error and nothing else."""
    status, out, err = run(*call.split())
    assert (status, out) == (2, "")
    assert "rollcall" in err


@pytest.mark.parametrize(
    "call",
    [
        "init directory lookup status switch key check import export template backup restore doctor",
        "check --lang --limits --restore-zeros --format",
        "lookup PASSCODE PIN history",
        "backup DIRECTORY|FILE --keep --format",
        "restore FILE --older-keys --whole",
        "doctor --format",
    ],
)
def test_help_tells_what_there_is(run: Callable[..., tuple[int, str, str]], call: str) -> None:
    """--help is status 0 and names commands and options."""
    first, *words = call.split()
    status, out, _ = run(*(["--help"] if first == "init" else [first, "--help"]))
    assert status == 0
    for word in (first, *words):
        assert word in out


def test_the_version_is_that_of_the_package(run: Callable[..., tuple[int, str, str]]) -> None:
    """--version prints one line."""
    assert run("--version") == (0, f"rollcall {version('rollcall')}\n", "")


@pytest.mark.parametrize("call", ["--config x.toml status", "status --config x.toml", "switch --config x.toml list"])
def test_settings_may_be_named_before_or_after_the_command(
    run: Callable[..., tuple[int, str, str]], installed: Path, call: str
) -> None:
    """--config FILE stands anywhere."""
    (installed / "var" / "rollcall.db").rename(installed / "elsewhere.db")
    (installed / "x.toml").write_text('[database]\nurl = "sqlite:///elsewhere.db"\n')
    status, _, err = run(*call.split())
    assert (status, err) == (0, "")


def test_wrong_settings_are_2_and_all_told(run: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    """Wrong settings end in status 2, each named with file and line, or with its variable."""
    (folder / "x.toml").write_text("[daemon]\nport = 0.5\nprot = 1\n")
    status, out, err = run("--config", "x.toml", "status")
    assert (status, out) == (2, "")
    assert "x.toml, line 2: daemon.port: " in err
    assert "x.toml, line 3: daemon.prot: " in err
    status, _, err = run("--config", "nowhere.toml", "template")
    assert (status, err) == (2, "rollcall: nowhere.toml: cannot be read: No such file or directory\n")


@pytest.mark.parametrize("call", ["lookup {} 1", "switch remove {}", "user link {}", "export --company {}"])
def test_what_is_not_utf_8_is_a_wrong_call(
    run: Callable[..., tuple[int, str, str]], installed: Path, call: str
) -> None:
    """Whatever bytes a shell hands on."""
    status, _, told = run(*call.format(os.fsdecode(b"\xff")).split())
    assert (status, told) == (2, "rollcall: what is asked for is not UTF-8 text\n")


@pytest.mark.parametrize("call", ["status", "switch list", "lookup 1 2", "export --company globaltest", "key rotate"])
def test_without_a_database_the_tool_says_what_to_do(
    run: Callable[..., tuple[int, str, str]], folder: Path, call: str
) -> None:
    """Before `rollcall init` every command is refused in one line that names it, and makes nothing."""
    status, out, err = run(*call.split())
    assert (status, out) == (1, "")
    assert err == "rollcall: there is no database var/rollcall.db; run `rollcall init`\n"
    assert list(folder.iterdir()) == []


def test_a_file_that_is_no_database_is_told_plainly(run: Callable[..., tuple[int, str, str]], installed: Path) -> None:
    """One line on standard error, status 1, no traceback."""
    (installed / "var" / "rollcall.db").write_bytes(b"anything but a database" * 100)
    assert run("status") == (1, "", "rollcall: var/rollcall.db: is not an SQLite database\n")


def test_a_check_starts_without_a_database(folder: Path, write: Callable[..., str]) -> None:
    """`check` imports neither SQLAlchemy nor asyncio nor, in a pipe, rich: it has to start quickly."""
    code = (
        "import sys; from loader.cli import main; status = main(['check', sys.argv[1]]);"
        "sys.exit(status or sum(name in sys.modules for name in ('sqlalchemy', 'asyncio', 'rich', 'structlog')))"
    )
    done = subprocess.run([sys.executable, "-c", code, write("4127,Mike")], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_goes_away_is_no_error(folder: Path, write: Callable[..., str]) -> None:
    """`rollcall check ... | true` says nothing on standard error."""
    file = write(*(f"{number},A,B" for number in range(100)))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([_ROLLCALL, "check", file], check=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_it_without_a_traceback(folder: Path) -> None:
    """SIGINT ends in status 130, and nothing is said."""
    call = [_ROLLCALL, "directory", "apply", "-"]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        # More than a pipe holds: when it is written, and read, the command waits for more.
        process.stdin.write(b" " * 200_000)
        process.stdin.flush()
        while unread(process.stdin.fileno()):
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def unread(pipe: int) -> int:
    """How many bytes in a pipe nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)
