"""The tool, called in this process, on a database that holds the example directory and a key file."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from loader.cli import main
from loader.keyring import Keyring

HEADER = "PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other"


class Result(NamedTuple):
    """How a command ended, and what it said where."""

    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which there is nothing yet; no settings from outside."""
    for name in os.environ:
        if name.startswith("ROLLCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("status", stdin="")`: one command, with this on its standard input."""

    def call(*arguments: str, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else -1
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    return call


@pytest.fixture
def installed(made: Path, folder: Path) -> Path:
    """The current folder with the example's database, in `var/`, and a key file."""
    (folder / "var").mkdir()
    shutil.copy(made, folder / "var" / "rollcall.db")
    Keyring.create(folder / "var" / "rollcall.key")
    return folder


@pytest.fixture
def write(folder: Path) -> Callable[..., str]:
    """`write("4127,Mike", name="list.csv")`: a list file with people of these PINs and first names; its name."""

    def make(*people: str, name: str = "list.csv") -> str:
        lines = [HEADER, *(f"{person},Doe,XYZ,,,Uxbridge,UK," for person in people), ""]
        (folder / name).write_text("\r\n".join(lines))
        return name

    return make
