"""Secrets in files: for nobody else, or the door stays shut."""

from pathlib import Path

import pytest

from daemon.doors.secret_file import read_secret
from loader.errors import SettingsError
from tests.unit.daemon.doors.clouds import secret_file


def test_a_secret_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    assert read_secret("doors.x.file", str(secret_file(tmp_path, " s3cr t \r\n"))) == b"s3cr t"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o620, 0o666])
def test_a_secret_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    file = secret_file(tmp_path)
    file.chmod(mode)
    with pytest.raises(SettingsError) as caught:
        read_secret("doors.x.file", str(file))
    assert str(caught.value) == f"doors.x.file: {file}: can be read by others; make it yours alone with `chmod 600`"


def test_without_a_secret_the_problem_names_the_setting(tmp_path: Path) -> None:
    """And tells nothing of what is in the file."""
    empty = secret_file(tmp_path, " \n")
    for path, problem in (
        ("", "must name the file with the secret; without it the door stays shut"),
        (str(tmp_path / "none"), f"{tmp_path / 'none'}: there is no such file"),
        (str(tmp_path), f"{tmp_path}: cannot be read: Is a directory"),
        (str(empty), f"{empty}: is empty"),
    ):
        with pytest.raises(SettingsError) as caught:
            read_secret("doors.x.file", path)
        assert caught.value.problems == (f"doors.x.file: {problem}",)
