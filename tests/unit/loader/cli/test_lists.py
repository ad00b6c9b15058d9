"""`rollcall import` and `rollcall export`."""

import json
import os
import pwd
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

pytestmark = pytest.mark.usefixtures("installed")

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., str]

ALICIA = ("--organizer", "alicia")


def status_of(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("status", "--format", "json")[1])
    return told


def test_an_import_tells_what_it_changed(run: Run, write: Write) -> None:
    """Processed, errors, then how many were added, changed, removed and left, and the revision."""
    status, out, err = run("import", write("4127,Mike", "4128,Jane", "4129,John"), *ALICIA)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "processed 3, errors 0, warnings 0, encoding utf-8, delimiter comma",
        "organizer alicia: added 3, changed 0, removed 0, unchanged 0, revision 1",
    ]
    _, out, _ = run("import", write("4127,Mike", "4128,Janet", "4130,Rosa"), *ALICIA)
    assert out.splitlines()[-1] == "organizer alicia: added 1, changed 1, removed 1, unchanged 1, revision 2"
    _, out, _ = run("import", write("4127,Mike", "4128,Janet", "4130,Rosa"), *ALICIA)
    assert out.splitlines()[-1] == "organizer alicia: added 0, changed 0, removed 0, unchanged 3, revision 2"


@pytest.mark.parametrize("owner", [ALICIA, ("--authorization-code", "3625046"), ("--company", "globaltest")])
def test_each_level_has_its_list(run: Run, write: Write, owner: tuple[str, str]) -> None:
    """The owner is named by its option, and what goes in comes out again."""
    assert run("import", write("0012,Mike"), *owner)[0] == 0
    assert run("export", *owner)[1].splitlines()[1] == "0012,Mike,Doe,XYZ,,,Uxbridge,UK,"


def test_the_history_names_the_user_of_the_system(run: Run, write: Write) -> None:
    """A list's revision is by `cli:` and the user, by way of an import, whatever the environment says."""
    run("import", write("4127,Mike"), *ALICIA)
    (told,) = status_of(run)["lists"]
    assert told["changed_by"] == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    assert told["source"] == "import"


def test_a_file_with_errors_changes_nothing(run: Run, write: Write) -> None:
    """All or nothing: the problems as `check` tells them, one line that nothing was changed, status 1."""
    run("import", write("4127,Mike"), *ALICIA)
    file = write("4128,Jane", "41x9,John")
    checked = run("check", file)
    status, out, err = run("import", file, *ALICIA)
    assert (status, out) == (1, checked[1])
    assert err == "rollcall: nothing was changed: the file for organizer alicia has errors\n"
    assert run("export", *ALICIA)[1].splitlines()[1:] == ["4127,Mike,Doe,XYZ,,,Uxbridge,UK,"]


def test_a_dry_run_tells_and_changes_nothing(run: Run, write: Write) -> None:
    """--dry-run names who would be added, changed and removed, without PINs, and leaves the list."""
    run("import", write("4127,Mike", "4128,Jane", "4129,John"), *ALICIA)
    before = status_of(run)
    status, out, _ = run("import", write("4127,Mike", "4128,Janet", "4130,Rosa"), *ALICIA, "--dry-run")
    assert status == 0
    assert out.splitlines()[1:] == [
        "added: Rosa Doe, XYZ, Uxbridge",
        "changed: Janet Doe, XYZ, Uxbridge",
        "removed: John Doe, XYZ, Uxbridge",
        "organizer alicia: would add 1, change 1, remove 1, leave 1; revision 1 stays",
    ]
    assert status_of(run) == before
    _, out, _ = run("import", write(*(f"{number},Rosa" for number in range(100, 125))), *ALICIA, "--dry-run")
    assert out.count("added: Rosa") == 20
    assert "\nadded: and 5 more\n" in out


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_an_owner_who_is_not_there_is_refused(run: Run, write: Write, option: tuple[str, ...]) -> None:
    """One line, status 1."""
    status, _, err = run("import", write("4127,Mike"), "--company", "nobody", *option)
    assert (status, err) == (1, "rollcall: there is no company nobody\n")


def test_lost_zeros_are_restored_if_asked_for(run: Run, write: Write) -> None:
    """--restore-zeros puts in force what the warning offers."""
    people = [f"{number:04},Mike" for number in range(5000, 5010)]
    file = write(*people, "127,Jane")
    assert "warning: line 12, PIN Entry Code: " in run("import", file, *ALICIA)[1]
    run("import", file, *ALICIA, "--restore-zeros")
    assert "0127,Jane" in run("export", *ALICIA)[1]


def test_a_key_file_that_is_missing_or_wrong_is_told(run: Run, write: Write, installed: Path) -> None:
    """Without the database's key nothing is read or written, and the line says which file and key."""
    run("import", write("4127,Mike"), *ALICIA)
    key = installed / "var" / "rollcall.key"
    key.rename(installed / "kept.key")
    status, _, err = run("export", *ALICIA)
    assert (status, err) == (1, "rollcall: var/rollcall.key: there is no key file; `rollcall init` makes one\n")
    (installed / "kept.key").rename(key)
    key.chmod(0o644)
    status, _, err = run("import", write("4128,Jane"), *ALICIA)
    assert status == 1
    assert err.endswith("can be read by others; make it yours alone with `chmod 600`\n")
    key.write_text("no key\n")
    key.chmod(0o600)
    assert run("export", *ALICIA) == (1, "", "rollcall: var/rollcall.key: line 1 is not a key\n")


def test_a_list_that_was_tampered_with_is_told_and_can_be_replaced(run: Run, write: Write, installed: Path) -> None:
    """Export names owner and revision; a dry run says so and compares with nothing; an import replaces the list."""
    run("import", write("4127,Mike"), *ALICIA)
    with sqlite3.connect(installed / "var" / "rollcall.db") as database:
        database.execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))")
    database.close()
    told = "the list of organizer alicia, revision 1, was damaged or tampered with"
    assert run("export", *ALICIA) == (1, "", f"rollcall: {told}\n")
    status, out, err = run("import", write("4127,Mike"), *ALICIA, "--dry-run")
    assert (status, err) == (0, f"rollcall: {told}; an import would replace it\n")
    assert "would add 1" in out
    assert run("import", write("4127,Mike"), *ALICIA)[1].endswith("revision 2\n")
    assert run("export", *ALICIA)[0] == 0


def test_a_csv_export_can_be_imported_again(run: Run, write: Write, installed: Path) -> None:
    """To a file or to standard output, the same bytes; importing them changes nothing."""
    run("import", write("0012,Mike", "271828,José"), *ALICIA)
    assert run("export", *ALICIA, "--output", "out.csv") == (0, "out.csv: 2 entries\n", "")
    file = installed / "out.csv"
    assert run("export", *ALICIA)[1].encode() == file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "unchanged 2, revision 1" in run("import", "out.csv", *ALICIA)[1]


def test_an_excel_export_keeps_pins_as_text(run: Run, write: Write, installed: Path) -> None:
    """By the name's ending it is a sheet, in which no leading zero is lost."""
    run("import", write("0012,Mike"), *ALICIA)
    assert run("export", *ALICIA, "--output", "out.xlsx")[0] == 0
    sheet = openpyxl.load_workbook(installed / "out.xlsx").active
    assert sheet is not None
    assert [cell.value for cell in sheet["A"]] == ["PIN Entry Code", "0012"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--company", "globaltest"), 1, "company globaltest has no list"),
        (("--company", "nobody"), 1, "there is no company nobody"),
        ((*ALICIA, "--output", "list.txt"), 2, r"list\.txt: the name of the file must end in \.csv or \.xlsx"),
        ((*ALICIA, "--output", "folder.csv"), 2, r"folder\.csv: is not a file"),
        ((*ALICIA, "--output", "nowhere/list.csv"), 2, r"nowhere/list\.csv: cannot be written: No such file.*"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    run: Run, write: Write, installed: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """No list, no such owner, or no such place to write: one line, and no file is left."""
    run("import", write("0012,Mike"), *ALICIA)
    (installed / "folder.csv").mkdir()
    ended, out, err = run("export", *arguments)
    assert (ended, out) == (status, "")
    assert re.fullmatch(f"rollcall: {said}\n", err)
    assert not (installed / "list.txt").exists()


def test_an_import_keeps_to_what_the_company_asks_for(run: Run, write: Write) -> None:
    """A PIN that is too short is an error of the file; `check` refuses it as well where it is told so."""
    file = write("4127,Mike")
    assert run("import", file, *ALICIA)[0] == 0
    with sqlite3.connect("var/rollcall.db") as database:
        database.execute(
            "INSERT INTO company_choice (company_id, dial_in, webhook_url, minimum_pin_digits)"
            " VALUES ('globaltest', '[]', '', 6)"
        )
    database.close()
    status, out, err = run("import", file, *ALICIA)
    assert (status, "nothing was changed" in err) == (1, True)
    assert "line 2, PIN Entry Code: “4127” is too short: at least 6 digits are asked for here." in out
    assert run("import", write("412789,Mike"), *ALICIA)[0] == 0
    file = write("4127,Mike")
    assert run("check", file)[0] == 0
    assert run("check", file, "--minimum-digits", "6")[0] == 1
    assert run("check", file, "--minimum-digits", "1")[0] == 2
