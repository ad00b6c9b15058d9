"""`rollcall init`, `rollcall directory apply`, `rollcall key rotate` and `rollcall switch`."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from loader.keyring import Keyring

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., str]

ALICIA = ("--organizer", "alicia")
KEY = Path("var") / "rollcall.key"


def test_init_makes_what_is_missing_and_only_that(run: Run, folder: Path) -> None:
    """The first call makes database and key file and says so; a second one leaves both as they are."""
    status, out, err = run("init")
    assert (status, err) == (0, "")
    assert re.match(r"database var/rollcall.db: made, schema \d+\nkey file var/rollcall.key: made; keep a copy", out)
    assert KEY.stat().st_mode & 0o777 == 0o600
    before = KEY.read_bytes()
    status, out, _ = run("init")
    assert status == 0
    assert re.fullmatch(r"database var/rollcall.db: is there, schema \d+\nkey file var/rollcall.key: is there\n", out)
    assert KEY.read_bytes() == before
    assert run("status")[0] == 0


def test_init_makes_no_new_key_where_lists_need_the_old_one(run: Run, write: Write, installed: Path) -> None:
    """A lost key file is told of, with the key's ID, and no other is put in its place; nor does another one do."""
    run("import", write("4127,Mike"), *ALICIA)
    key_id = Keyring.load(KEY).current
    KEY.rename("kept.key")
    status, _, err = run("init")
    assert status == 1
    assert "is not there, but lists in the database are encrypted under key " + key_id in err
    assert not KEY.exists()
    Keyring.create(KEY)
    status, _, err = run("init")
    assert status == 1
    assert f"does not hold key {key_id}" in err


def test_init_says_what_is_in_its_way(run: Run, folder: Path) -> None:
    """A database of a newer version, and a folder that cannot be made, are one line each and status 1."""
    (folder / "var").write_text("a file")
    status, _, err = run("init")
    assert (status, err.count("\n")) == (1, 1)
    (folder / "var").unlink()
    run("init")
    with sqlite3.connect("var/rollcall.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for command in ("init", "status"):
        status, out, err = run(command)
        assert (status, out) == (1, "")
        assert re.fullmatch(r"rollcall: var/rollcall.db was made by a newer Rollcall \(schema 9999.*\)\n", err)


def test_a_directory_is_applied_once_however_often(run: Run, installed: Path, example: bytes) -> None:
    """What was created, updated and left is told by kind; TOML and JSON, file and standard input are one."""
    (installed / "d.toml").write_bytes(example.replace(b'"Weekly call"', b'"Daily call"'))
    status, out, _ = run("directory", "apply", "d.toml")
    assert status == 0
    assert out.splitlines() == [
        "company: created 0, updated 0, unchanged 2",
        "authorization code: created 0, updated 0, unchanged 2",
        "organizer: created 0, updated 0, unchanged 1",
        "conference: created 0, updated 1, unchanged 0",
        "user: created 0, updated 0, unchanged 0",
    ]
    text = json.dumps({"company": [{"id": "globaltest", "name": "Global Test"}, {"id": "new", "name": "New"}]})
    assert run("directory", "apply", "-", stdin=text)[1].startswith("company: created 1, updated 0, unchanged 1\n")
    (installed / "d.json").write_text(text)
    assert run("directory", "apply", "d.json")[1].startswith("company: created 0, updated 0, unchanged 2\n")


def test_a_directory_with_a_problem_changes_nothing(run: Run, installed: Path, example: bytes) -> None:
    """All problems at once with the file's name, and status 1; a file that is not one is a wrong call."""
    wrong = example.replace(b"7784321", b"x").replace(b'"Other"', b'""').replace(b'"Global Test"', b'"Global"')
    (installed / "d.toml").write_bytes(wrong)
    before = run("status")[1]
    status, out, err = run("directory", "apply", "d.toml")
    assert (status, out) == (1, "")
    assert "d.toml: company[0].organizer[0].conference[0].passcode: " in err
    assert "d.toml: company[1].name: " in err
    assert err.endswith("\nnothing was changed\n")
    assert run("status")[1] == before
    assert run("directory", "apply", "d.yaml")[0] == 2
    assert run("directory", "apply", "nowhere.toml") == (
        2,
        "",
        "rollcall: nowhere.toml: cannot be read: No such file or directory\n",
    )


def test_a_rotated_key_reads_all_lists(run: Run, write: Write, installed: Path) -> None:
    """After `key rotate` the file holds another key alone, and the lists are as they were."""
    run("import", write("4127,Mike"), *ALICIA)
    run("import", write("4128,Jane"), "--company", "globaltest")
    lists = [run("export", *ALICIA), run("export", "--company", "globaltest")]
    before = Keyring.load(KEY).key_ids
    status, out, _ = run("key", "rotate")
    after = Keyring.load(KEY)
    assert status == 0
    assert f"under key {after.current}" in out
    assert len(after.key_ids) == 1
    assert not before & after.key_ids
    assert [run("export", *ALICIA), run("export", "--company", "globaltest")] == lists


def test_a_key_that_is_prepared_is_in_no_use_until_the_rotation_goes_on(
    run: Run, write: Write, installed: Path
) -> None:
    """So that services with a copy of the file can be started anew in between. Twice is as once."""
    run("import", write("4127,Mike"), *ALICIA)
    before = Keyring.load(KEY)
    for _ in range(2):
        status, out, _ = run("key", "rotate", "--prepare")
        assert status == 0
        assert "in no use yet" in out
    copied = Keyring.load(KEY)
    assert copied.key_ids > before.key_ids
    assert copied.current not in before.key_ids
    run("import", write("4128,Jane"), "--company", "globaltest")
    assert run("key", "rotate")[0] == 0
    assert Keyring.load(KEY).key_ids == {copied.current}
    # Before it went on, what was sealed was sealed under the key that all know.
    assert len(copied.key_ids) == 2


def test_a_terminal_gets_a_table(run: Run, installed: Path) -> None:
    """On a terminal there are titles and lines; what looks like markup is shown as it is."""
    run("switch", "add", "pbx-1")
    leader, follower = pty.openpty()
    command = [str(Path(sys.executable).with_name("rollcall")), "switch", "list"]
    subprocess.run(command, check=True, stdout=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    os.close(follower)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "since" in shown
    assert "pbx-1" in shown
    assert "\t" not in shown
