"""Settings: strict, all problems at once, each with its place."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loader.errors import SettingsError
from loader.settings import Settings, load_settings

_PRODUCTION = Path(__file__).parents[3] / "configs" / "production.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rollcall.toml"


def problems(file: Path | None, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load_settings(file, environment or {})
    return raised.value.problems


def test_without_a_file_there_are_the_defaults() -> None:
    """Nothing has to be set."""
    assert load_settings(None, {}) == Settings()
    assert (Settings().daemon.port, Settings().daemon.ops_port) == (8470, 9470)
    assert (Settings().admin.port, Settings().admin.ops_port) == (8471, 9471)


def test_the_environment_wins_over_the_file(file: Path) -> None:
    """A variable replaces what the file says, and leaves the rest of its section."""
    file.write_text('[daemon]\nport = 8500\nhost = "192.0.2.1"\n')
    settings = load_settings(file, {"ROLLCALL_DAEMON__PORT": "8600", "ROLLCALL_DATABASE__URL": "sqlite:///x.db"})
    assert (settings.daemon.port, settings.daemon.host) == (8600, "192.0.2.1")
    assert settings.database.url == "sqlite:///x.db"


def test_the_environment_names_the_file(file: Path) -> None:
    """ROLLCALL_CONFIG is taken where no file is named otherwise, and only there."""
    file.write_text("[daemon]\nport = 8500\n")
    environment = {"ROLLCALL_CONFIG": str(file)}
    assert load_settings(None, environment).daemon.port == 8500
    other = file.with_name("other.toml")
    other.write_text("")
    assert load_settings(other, environment).daemon.port == 8470


def test_all_problems_are_told_at_once_with_file_and_line(file: Path) -> None:
    """Each problem names its setting, and where it stands: file and line, or variable."""
    file.write_text('[daemon]\nport = "8500"\n\nprot = 1\n[deamon]\nport = 1\n[logs]\nlevel = "loud"\n')
    told = problems(file, {"ROLLCALL_DAEMON__OPS_PORT": "many"})
    assert [problem.split(": ")[:2] for problem in told] == [
        [f"{file}, line 2", "daemon.port"],
        [f"{file}, line 4", "daemon.prot"],
        ["ROLLCALL_DAEMON__OPS_PORT", "daemon.ops_port"],
        [f"{file}, line 5", "deamon"],
        [f"{file}, line 8", "logs.level"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 8470\n", "port: there is no such setting"),
        ("daemon = 1\n", "daemon: is a section, not a value"),
        ("[daemon]\nport = 70000\n", "daemon.port: "),
        ("[daemon]\nport = -1\n", "daemon.port: "),
        ("[daemon]\nport = true\n", "daemon.port: "),
        ('[daemon]\nhost = ""\n', "daemon.host: "),
        ("[daemon]\npoll_interval = 0.6\n", "daemon.poll_interval: "),
        ("[lists]\nguessable_share = 0\n", "lists.guessable_share: "),
        ('[logs]\nformat = "xml"\n', "logs.format: "),
        ("[doors.carrier_pigeon]\nenabled = true\n", "doors.carrier_pigeon: there is no such setting"),
        ("[daemon\n", "line 1"),
    ],
)
def test_a_wrong_file_is_refused(file: Path, text: str, said: str) -> None:
    """What is unknown, out of range, of another type, or no TOML is refused, and the file is named."""
    file.write_text(text)
    (problem,) = problems(file)
    assert str(file) in problem
    assert said in problem


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ROLLCALL_DAEMON__PORT", "eighty", "daemon.port: "),
        ("ROLLCALL_DAEMON__PRT", "80", "daemon.prt: there is no such setting"),
        ("ROLLCALL_DEMON__PORT", "80", "demon: there is no such setting"),
        ("ROLLCALL_LOGS__LEVEL", "", "logs.level: "),
    ],
)
def test_a_wrong_variable_is_refused(name: str, text: str, said: str) -> None:
    """What the environment sets is as strictly read, and the variable is named."""
    (problem,) = problems(None, {name: text})
    assert problem.startswith(f"{name}: {said}")


def test_other_variables_are_nobodys_business() -> None:
    """Only variables with the prefix and a section are settings."""
    assert load_settings(None, {"ROLLCALL": "1", "ROLLCALL_HOME": "2", "DAEMON__PORT": "3"}) == Settings()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: Path) -> None:
    """A file that is not there, a folder, and what is not UTF-8 are refused by name."""
    assert problems(file) == (f"{file}: cannot be read: No such file or directory",)
    assert problems(tmp_path) == (f"{tmp_path}: cannot be read: Is a directory",)
    file.write_bytes(b"\xff\xfe\x00")
    assert problems(file) == (f"{file}: is not UTF-8 text",)


def test_the_production_file_shows_every_setting() -> None:
    """Each setting stands in configs/production.toml, with its default unless an installation needs another."""
    settings = load_settings(_PRODUCTION, {})
    text = _PRODUCTION.read_text()
    others = {"url", "file", "format", "behind_proxy", "host", "user", "journal"}
    for name, default, told in sections(Settings(), settings):
        table = text.partition(f"\n[{name}]\n")[2].partition("\n[")[0]
        for field in msgspec.structs.fields(default):
            value = getattr(default, field.name)
            if isinstance(value, msgspec.Struct):
                continue
            assert re.search(rf"^{field.name} = ", table, re.MULTILINE), f"{name}.{field.name}"
            if field.name not in others and not field.name.endswith("_file"):
                assert getattr(told, field.name) == value
    assert settings.logs.format == "json"


def sections(default: msgspec.Struct, told: msgspec.Struct, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """All tables with their names, as they are by default and as they are told."""
    for field in msgspec.structs.fields(default):
        one, other = getattr(default, field.name), getattr(told, field.name)
        if isinstance(one, msgspec.Struct):
            yield f"{at}{field.name}", one, other
            yield from sections(one, other, f"{at}{field.name}.")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{b = " * 5000, "a = " + "1" * 5000])
def test_what_no_file_of_settings_holds_is_told_of_the_file(file: Path, text: str) -> None:
    file.write_text(text)
    (told,) = problems(file)
    assert told.startswith(f"{file}: ")


def test_a_variable_that_is_not_utf_8_is_told_by_its_name() -> None:
    (told,) = problems(None, {"ROLLCALL_DOORS__RADIUS__ENABLED": "true\udcff"})
    assert told == "ROLLCALL_DOORS__RADIUS__ENABLED: doors.radius.enabled: is not UTF-8 text"


@pytest.mark.parametrize("text", ["", "[daemon]\nport = 1\n"])
def test_a_variable_for_something_within_a_value_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    environment = {"ROLLCALL_DAEMON__PORT__X": "1"} | ({} if text else {"ROLLCALL_DAEMON__PORT": "1"})
    (told,) = problems(file, environment)
    assert told == "ROLLCALL_DAEMON__PORT__X: daemon.port.x: there is no such setting"
