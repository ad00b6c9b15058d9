"""`rollcall check` and `rollcall template`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., str]


def test_a_file_without_errors_is_0(run: Run, write: Write) -> None:
    """One line with the counts, the encoding and the separator."""
    said = "processed 2, errors 0, warnings 0, encoding utf-8, delimiter comma\n"
    assert run("check", write("4127,Mike", "4128,Jane")) == (0, said, "")


def test_problems_are_a_line_each_and_warnings_apart(run: Run, write: Write, folder: Path) -> None:
    """Errors in the order of the file, then warnings, then the counts; status 1."""
    file = write("41x7,Mike", "4128,", "4128,Jane")
    (folder / file).write_text((folder / file).read_text().replace("Jane,Doe,XYZ,,", "Jane,Doe,XYZ,,nowhere"))
    status, out, err = run("check", file)
    assert (status, err) == (1, "")
    starts = [
        "line 2, PIN Entry Code: ",
        "line 3, First Name: ",
        "line 4, PIN Entry Code: ",
        "warning: line 4, Email: ",
    ]
    *problems, summary = out.splitlines()
    assert [line[: len(start)] for line, start in zip(problems, starts, strict=True)] == starts
    assert summary == "processed 3, errors 3, warnings 1, encoding utf-8, delimiter comma"


def test_what_concerns_the_whole_file_names_the_file(run: Run, folder: Path) -> None:
    """A problem that stands in no line begins with `file`."""
    (folder / "list.csv").write_bytes(b"")
    status, out, _ = run("check", "list.csv")
    assert status == 1
    assert out.startswith("file: The file is empty.")
    assert out.endswith("\nprocessed 0, errors 1, warnings 0\n")


def test_the_first_hundred_errors_are_listed_and_all_counted(run: Run, write: Write) -> None:
    """The rest is told as a number."""
    status, out, _ = run("check", write(*["x,Mike"] * 130))
    assert status == 1
    assert "\nand 30 errors more\nprocessed 130, errors 130, " in out


def test_json_is_the_one_form_that_is_promised(run: Run, write: Write) -> None:
    """--format json prints one object with exactly the promised fields; the status is the same."""
    status, out, err = run("check", write("41x7,Mike"), "--format", "json")
    assert (status, err, out.count("\n")) == (1, "", 1)
    told = json.loads(out)
    (error,) = told.pop("errors")
    assert told == {"processed": 1, "error_count": 1, "warnings": [], "encoding": "utf-8", "delimiter": ","}
    assert {**error, "message": ""} == {"line": 2, "column": "PIN Entry Code", "code": "pin_invalid", "message": ""}
    assert "41x7" in error["message"]


def test_limits_are_those_of_the_web_only_if_asked_for(run: Run, write: Write) -> None:
    """The command line takes any size."""
    file = write(*(f"{number:06},Mike" for number in range(8001)))
    assert run("check", file)[0] == 0
    status, out, _ = run("check", file, "--limits", "web", "--format", "json")
    assert status == 1
    assert [error["code"] for error in json.loads(out)["errors"]] == ["too_many_entries"]


def test_the_guessable_share_is_a_setting(run: Run, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """lists.guessable_share decides when a list is warned of."""
    file = write("41,Mike")
    assert "warnings 1," in run("check", file)[1]
    monkeypatch.setenv("ROLLCALL_LISTS__GUESSABLE_SHARE", "0.5")
    assert "warnings 0," in run("check", file)[1]


@pytest.mark.parametrize("language", ["en", "fr", "de", "ja"])
def test_every_language_is_taken(run: Run, write: Write, language: str) -> None:
    """--lang takes the four languages; the code in JSON is the same in each."""
    _, out, _ = run("check", write("41x7,Mike"), "--lang", language, "--format", "json")
    assert json.loads(out)["errors"][0]["code"] == "pin_invalid"


def test_a_file_that_cannot_be_read_is_a_wrong_call(run: Run, folder: Path) -> None:
    """Status 1 is for what stands in the file; that it is not there is 2, with one line."""
    assert run("check", "list.csv") == (2, "", "rollcall: list.csv: cannot be read: No such file or directory\n")
    assert run("check", ".") == (2, "", "rollcall: .: cannot be read: Is a directory\n")


def test_the_template_is_the_header(run: Run, folder: Path) -> None:
    """It can be saved, filled in, and checked: alone it only lacks entries."""
    status, out, _ = run("template")
    assert (status, out) == (0, "PIN Entry Code,First Name,Last Name,Company,Phone,Email,City,State/Country,Other\r\n")
    (folder / "list.csv").write_bytes(out.encode())
    assert "and no entry" in run("check", "list.csv")[1]
