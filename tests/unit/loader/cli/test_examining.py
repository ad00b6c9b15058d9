"""`rollcall doctor`: each fault is made for real, and is found, told, and told what to do about."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from loader.keyring import Keyring
from tests.unit.loader.cli.conftest import Run

Doctor = Callable[..., dict[str, list[dict[str, str]]]]
DATABASE = Path("var/rollcall.db")
KEY = Path("var/rollcall.key")
JOURNAL = Path("var/journal")


def execute(statement: str, *values: object) -> None:
    with closing(sqlite3.connect(DATABASE, isolation_level=None)) as connection:
        connection.execute(statement, values)


def told_by(
    daemon: str = "pbx:8470", *, position: int = 1, seen_at: float | None = None, of: str | None = None
) -> None:
    """A daemon has told the database of itself."""
    seen_at = time.time() if seen_at is None else seen_at
    execute(
        "INSERT INTO daemon_state VALUES (?, ?, ?, ?, ?, ?)",
        daemon,
        of or version("rollcall"),
        seen_at,
        position,
        seen_at,
        seen_at,
    )


@pytest.fixture
def well(installed: Path, run: Run, write: Callable[..., str]) -> Path:
    """An installation with a list, and a daemon that was just heard of."""
    assert run("import", write("4127,Mike", "4128,Ann"), "--organizer", "alicia").status == 0
    told_by(position=2)
    return installed


@pytest.fixture
def doctor(well: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """`doctor(status=0, ROLLCALL_…="…")`: what is not ok, by what was looked at."""

    def look(status: int, **settings: str) -> dict[str, list[dict[str, str]]]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        result = run("doctor", "--format", "json")
        told = json.loads(result.out)
        assert result.status == status, told
        assert told["ok"] is (status == 0)
        found: dict[str, list[dict[str, str]]] = {}
        for finding in told["findings"]:
            # Whether this machine's clock is kept right is not ours to say.
            if finding["state"] != "ok" and finding["looked_at"] != "clock":
                assert finding["found"]
                assert finding["do"]
                found.setdefault(finding["looked_at"], []).append(finding)
        return found

    return look


def only(found: dict[str, list[dict[str, str]]], looked_at: str) -> str:
    """The one thing that was found, as `state: found`."""
    assert list(found) == [looked_at]
    ((finding,),) = found.values()
    return f"{finding['state']}: {finding['found']}"


def test_where_all_is_well_nothing_is_found_and_nothing_changed(doctor: Doctor, well: Path) -> None:
    before = DATABASE.read_bytes()
    assert doctor(0) == {}
    assert DATABASE.read_bytes() == before


def test_a_line_for_each_look_in_a_pipe(well: Path, run: Run) -> None:
    result = run("doctor")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert {line[0] for line in lines} <= {"ok", "warning"}
    assert ["ok", "lists", "1 with 2 entries, all of them can be opened"] in lines
    assert len({line[1] for line in lines}) > 14
    assert result.err == ""


# Settings


def test_settings_that_no_program_starts_with_are_wrong(doctor: Doctor) -> None:
    (found,) = doctor(1, ROLLCALL_DAEMON__PROT="8470").values()
    assert "there is no such setting" in found[0]["found"]


@pytest.mark.parametrize(
    ("setting", "value", "looked_at"),
    [
        ("ROLLCALL_DAEMON__HOST", "0.0.0.0", "ports"),
        ("ROLLCALL_DAEMON__OPS_HOST", "::", "ports"),
        ("ROLLCALL_ADMIN__OPS_HOST", "192.0.2.1", "ports"),
        ("ROLLCALL_ADMIN__URL", "http://rollcall.example.com", "web site"),
        ("ROLLCALL_ADMIN__HOST", "0.0.0.0", "web site"),
        ("ROLLCALL_ADMIN__SECOND_FACTOR", "false", "web site"),
        ("ROLLCALL_MAIL__SHOW", "true", "mail"),
        ("ROLLCALL_ROLL__WEBHOOK_PRIVATE", "true", "webhooks"),
    ],
)
def test_what_is_risky_is_warned_of(doctor: Doctor, setting: str, value: str, looked_at: str) -> None:
    assert only(doctor(0, **{setting: value}), looked_at).startswith("warning: ")


def test_doors_are_looked_at_once_they_are_open(doctor: Doctor) -> None:
    host = {"ROLLCALL_DOORS__FASTAGI__HOST": "0.0.0.0", "ROLLCALL_DOORS__FASTAGI__ALLOW": "0.0.0.0/0"}
    assert doctor(0, **host) == {}
    found = doctor(0, ROLLCALL_DOORS__FASTAGI__ENABLED="true")["ports"]
    assert ["doors.fastagi.host is 0.0.0.0" in found[0]["found"], "is everybody" in found[1]["found"]] == [True, True]


def test_networks_that_are_none_are_wrong(doctor: Doctor) -> None:
    networks = {"ROLLCALL_DOORS__FASTAGI__ENABLED": "true", "ROLLCALL_DOORS__FASTAGI__ALLOW": "127.0.0.1 example.com"}
    assert only(doctor(1, **networks), "ports") == "wrong: doors.fastagi.allow: example.com is no network"


def test_mail_that_leaves_unencrypted_is_warned_of(doctor: Doctor) -> None:
    assert doctor(0, ROLLCALL_MAIL__HOST="127.0.0.1", ROLLCALL_MAIL__TLS="none") == {}
    assert "unencrypted" in only(doctor(0, ROLLCALL_MAIL__HOST="mail.example.com"), "mail")


def test_a_site_behind_a_proxy_with_tls_is_well(doctor: Doctor) -> None:
    assert doctor(0, ROLLCALL_ADMIN__HOST="0.0.0.0", ROLLCALL_ADMIN__URL="https://rollcall.example.com") == {}


# Files


def test_a_key_file_that_is_gone_is_wrong(doctor: Doctor) -> None:
    KEY.unlink()
    assert "there is no key file" in only(doctor(1), "key file")


def test_a_key_file_that_others_can_read_is_wrong(doctor: Doctor) -> None:
    KEY.chmod(0o640)
    assert only(doctor(1), "key file") == f"wrong: {KEY}: can be read by others; make it yours alone with `chmod 600`"


def test_a_key_file_of_another_database_is_wrong(doctor: Doctor) -> None:
    KEY.unlink()
    Keyring.create(KEY)
    found = doctor(1)
    assert set(found) == {"keys", "lists"}
    assert "does not hold key" in found["keys"][0]["found"]
    assert "organizer alicia" not in found["keys"][0]["found"]


def test_a_key_too_many_is_warned_of(doctor: Doctor) -> None:
    ring = Keyring.load(KEY)
    ring.with_new_key()
    assert "rotation" in only(doctor(0), "keys")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("path", "looked_at"), [(KEY, "key file"), (JOURNAL, "journal folder")])
def test_what_belongs_to_somebody_else_is_wrong(doctor: Doctor, path: Path, looked_at: str) -> None:
    JOURNAL.mkdir()
    os.chown(path, 65534, 65534)
    assert "one user cannot use both" in only(doctor(1), looked_at)


def test_a_database_that_others_can_read_is_warned_of(doctor: Doctor) -> None:
    DATABASE.chmod(0o644)
    assert "can be read by others" in only(doctor(0), "database file")


def test_former_databases_that_nobody_will_want_are_warned_of(doctor: Doctor) -> None:
    former = Path("var/rollcall.db.before-20260504T000000Z")
    for name in (former, Path(f"{former}-wal"), Path("var/rollcall.db.before-20260505T000000Z")):
        name.touch()
    assert doctor(0) == {}
    for name in (former, Path(f"{former}-wal")):
        os.utime(name, (1, 1))
    (finding,) = doctor(0)["former databases"]
    assert finding["do"] == f"if all is well, rm {former}"


def test_files_with_secrets_are_looked_at(doctor: Doctor, well: Path) -> None:
    setting = {"ROLLCALL_MAIL__PASSWORD_FILE": str(well / "password")}
    assert "cannot be read" in only(doctor(1, **setting), "secret files")
    (well / "password").write_text("hidden")
    (well / "password").chmod(0o644)
    assert "can be read by others" in only(doctor(0), "secret files")
    (well / "password").chmod(0o600)
    assert doctor(0) == {}
    # A door that is shut needs none.
    assert doctor(0, ROLLCALL_DOORS__TWIML__AUTH_TOKEN_FILE="nowhere") == {}
    assert "doors.twiml" in only(doctor(1, ROLLCALL_DOORS__TWIML__ENABLED="true"), "secret files")


def test_a_journal_that_is_no_folder_is_wrong(doctor: Doctor) -> None:
    JOURNAL.write_bytes(b"")
    assert "is no folder" in only(doctor(1), "journal folder")


# The machine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of so many bytes or files; the test is skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(option: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("option", "status", "problem"),
    [
        ("size=20m", 1, "wrong: 20 MB are free"),
        ("size=1g,nr_inodes=60", 1, "wrong: only"),
        ("size=200m", 0, "warning: 209 MB are free"),
    ],
)
def test_a_disk_without_room_is_told(
    doctor: Doctor, small_disk: Callable[[str], Path], option: str, status: int, problem: str
) -> None:
    folder = small_disk(option)
    assert only(doctor(status, ROLLCALL_ROLL__JOURNAL=str(folder / "journal")), "disk").startswith(problem)


def test_a_disk_that_is_read_only_is_wrong(doctor: Doctor, small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("size=1g")
    (folder / "journal").mkdir()
    shutil.copy(DATABASE, folder)
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    found = doctor(
        1,
        ROLLCALL_DATABASE__URL=f"sqlite:///{folder / 'rollcall.db'}",
        ROLLCALL_ROLL__JOURNAL=str(folder / "journal"),
    )
    assert "nothing can be changed" in found["database file"][0]["found"]
    assert "the daemon does not start" in found["journal folder"][0]["found"]


def test_too_few_open_files_are_warned_of(well: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    look = "import loader.cli, sys; sys.exit(loader.cli.main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", look],
        preexec_fn=few,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "warning\topen files\ta process started from here may have 1,024 open" in done.stdout


# The database


def test_a_database_that_is_not_there_is_wrong(doctor: Doctor) -> None:
    DATABASE.unlink()
    assert "there is no database" in only(doctor(1), "database")


def test_a_file_that_is_no_database_is_wrong(doctor: Doctor) -> None:
    DATABASE.write_bytes(b"x" * 4096)
    assert "is not an SQLite database" in only(doctor(1), "database")


def test_a_damaged_page_is_wrong(doctor: Doctor) -> None:
    with closing(sqlite3.connect(DATABASE)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'consent'").fetchone()
        connection.execute("PRAGMA journal_mode = DELETE")
    with DATABASE.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 100)
    finding = doctor(1)["database"][0]
    assert "is damaged" in finding["found"]
    assert "rollcall restore" in finding["do"]


@pytest.mark.parametrize(("schema", "problem"), [("0001", "run `rollcall init`"), ("9999", "newer Rollcall")])
def test_another_version_is_wrong(doctor: Doctor, schema: str, problem: str) -> None:
    execute("UPDATE alembic_version SET version_num = ?", schema)
    assert problem in only(doctor(1), "database")


def test_another_journal_mode_is_warned_of(doctor: Doctor) -> None:
    execute("PRAGMA journal_mode = DELETE")
    assert "delete" in only(doctor(0), "write-ahead log")


def test_a_write_ahead_log_that_does_not_shrink_is_warned_of(doctor: Doctor) -> None:
    """As while something reads for ever."""
    with closing(sqlite3.connect(DATABASE)) as reader:
        reader.execute("PRAGMA journal_mode = WAL")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM company").fetchall()
        execute("UPDATE company SET name = name || ''")
        os.truncate(DATABASE.with_name("rollcall.db-wal"), 300_000_000)
        assert "300 MB" in only(doctor(0), "write-ahead log")


def test_a_list_that_cannot_be_opened_is_wrong(doctor: Doctor) -> None:
    execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))")
    assert "the list of organizer alicia, revision 1, was damaged" in only(doctor(1), "lists")


def test_a_list_with_other_counts_is_wrong(doctor: Doctor) -> None:
    execute("UPDATE list_revision SET entries = 3")
    assert "has 2 entries instead of 3" in only(doctor(1), "lists")


def test_a_feed_that_stands_before_its_changes_is_wrong(doctor: Doctor) -> None:
    execute("UPDATE feed SET position = 1")
    execute("UPDATE daemon_state SET position = 1")
    assert "daemons miss changes" in only(doctor(1), "feed")


def test_changes_from_the_future_are_wrong(doctor: Doctor) -> None:
    """A clock was set back since."""
    execute("UPDATE change SET committed_at = ?", time.time() + 3600)
    assert "from the future" in only(doctor(1), "feed")


# What runs


def test_that_no_daemon_runs_is_warned_of(doctor: Doctor) -> None:
    execute("DELETE FROM daemon_state")
    assert "no switch is answered" in only(doctor(0), "daemons")


def test_daemons_are_told_one_by_one(doctor: Doctor) -> None:
    told_by("killed:1", seen_at=time.time() - 300)
    told_by("older:1", position=2, of="0.0.1")
    found = [f"{one['state']}: {one['found']}" for one in doctor(0)["daemons"]]
    assert found[0].startswith("warning: killed:1 was not heard of for 300 s")
    assert found[1].startswith("warning: older:1 is of version 0.0.1")
    assert len(found) == 2


def test_a_daemon_that_lags_behind_is_warned_of(doctor: Doctor) -> None:
    execute("UPDATE daemon_state SET position = 1")
    execute("UPDATE change SET committed_at = committed_at - 60")
    assert "is behind by 1" in only(doctor(0), "daemons")


def test_a_daemon_that_is_further_than_the_feed_is_wrong(doctor: Doctor) -> None:
    execute("UPDATE daemon_state SET position = 99")
    assert "put back by other means" in only(doctor(1), "daemons")


def test_a_daemon_of_the_future_is_wrong(doctor: Doctor) -> None:
    execute("UPDATE daemon_state SET seen_at = ?", time.time() + 90)
    assert "in the future" in only(doctor(1), "daemons")


def test_what_a_killed_daemon_has_left_is_warned_of(doctor: Doctor) -> None:
    """What the database has taken of it is not counted, and neither is what was written just now."""
    execute("INSERT INTO journal VALUES ('j1', 3, 1000)")
    for name, size, age in (("00000002", 5000, 500), ("00000003", 1200, 400), ("00000004", 30, 300)):
        file = JOURNAL / "0" / f"{name}.journal"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
        os.utime(file, (time.time() - age,) * 2)
    (JOURNAL / "0" / "id").write_text("j1")
    assert "230 bytes of events wait in var/journal/0 for 300 s" in only(doctor(0), "journal")
    os.utime(JOURNAL / "0" / "00000004.journal")
    assert doctor(0) == {}


def test_webhooks_that_are_stopped_or_wait_are_warned_of(doctor: Doctor) -> None:
    execute(
        "INSERT INTO company_choice (company_id, dial_in, webhook_url, webhook_stopped_at)"
        " VALUES ('globaltest', '', 'https://example.com', 1)"
    )
    execute(
        "INSERT INTO webhook_delivery (company_id, event_id, event, about, created_at, next_at, attempts, delivered)"
        " VALUES ('globaltest', 'e', 'x', 'x', 1, 1, 0, 0)"
    )
    found = [one["found"] for one in doctor(0)["webhooks"]]
    assert "globaltest" in found[0]
    assert found[1].startswith("1 events wait")


def test_mail_that_failed_or_waits_is_warned_of(doctor: Doctor) -> None:
    execute(
        "INSERT INTO occurrence (conference_id, company_id, organizer_id, title, started_at, last_at, present, admitted,"
        " rejected, version, send_failed) VALUES ('C-1001', 'globaltest', 'alicia', '', ?, 1, 0, 0, 0, 1, 'refused')",
        time.time(),
    )
    execute(
        "INSERT INTO invitation (conference_id, level, owner_id, person, queued_by, queued_at, language, next_at, attempts,"
        " key_id, sealed) VALUES ('C-1001', 'organizer', 'alicia', x'00', 'alicia', 1, 'en', 1, 0, ?, x'00')",
        Keyring.load(KEY).current,
    )
    found = [one["found"] for one in doctor(0)["mail"]]
    assert [one[:24] for one in found] == ["1 rolls or invitations o", "1 rolls or invitations w"]


def test_no_secret_is_told(doctor: Doctor, run: Run) -> None:
    """Of no list a PIN, of no file a key, of no address a password."""
    execute("UPDATE list_part SET ciphertext = zeroblob(length(ciphertext))")
    said = run("doctor").out
    secrets = [line.split()[1] for line in KEY.read_text().splitlines()]
    assert not [secret for secret in ("4127", "4128", *secrets) if secret in said]
