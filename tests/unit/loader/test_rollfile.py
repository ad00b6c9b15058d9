"""A roll as a CSV file."""

import csv
import io

import pytest

from loader.model import Participant
from loader.rollfile import TITLES, duration_of, roll_csv
from loader.store.rolls import Call, Ended

SPRING = 1_775_000_000.0
"""2026-03-31 23:33:20 UTC."""


def call(
    *,
    joined: float | None = None,
    left: float | None = None,
    ended: Ended | None = None,
    first_name: str = "Zoë",
    caller: str | None = "15550100",
) -> Call:
    who = Participant(first_name, "Doe", 'X, "Y" & Z', "+1 555 0100", "zoe@example.com", "Lyon", "FR", "@home")
    return Call(1, "http", SPRING, joined, left, ended, b"p" * 16, "key", who, caller)


def rows(data: bytes) -> list[dict[str, str]]:
    assert data.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_a_call_is_a_line_with_its_times_in_the_time_zone() -> None:
    (row,) = rows(roll_csv([call(joined=SPRING + 10, left=SPRING + 3700.9, ended=Ended.LEFT)], "Europe/Paris"))
    assert tuple(row) == TITLES
    assert (row["First Name"], row["Company"]) == ("Zoë", 'X, "Y" & Z')
    assert (row["Admitted"], row["Joined"], row["Left"]) == (
        "2026-04-01 01:33:20",
        "2026-04-01 01:33:30",
        "2026-04-01 02:35:00",
    )
    assert (row["Duration"], row["Ended"]) == ("1:01:30", "left")
    assert row["Time Zone"] == "Europe/Paris +02:00"
    assert "PIN" not in "".join(TITLES)


def test_a_call_that_is_still_on_has_no_end() -> None:
    (row,) = rows(roll_csv([call()], "UTC"))
    assert [row[title] for title in ("Joined", "Left", "Duration", "Ended")] == [""] * 4
    assert row["Time Zone"] == "UTC +00:00"


def test_a_call_without_a_name_has_its_number_and_times() -> None:
    (row,) = rows(roll_csv([Call(1, "http", SPRING, None, None, Ended.SILENT, None, None, None, None)], "UTC"))
    assert (row["First Name"], row["Calling Number"], row["Ended"]) == ("", "", "silent")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff20"])
def test_no_cell_is_run_as_a_formula(start: str) -> None:
    (row,) = rows(roll_csv([call(first_name=f"{start}HYPERLINK(1)", caller="+15550100")], "UTC"))
    assert row["First Name"] == f"'{start}HYPERLINK(1)"
    assert (row["Phone"], row["Other"], row["Calling Number"]) == ("'+1 555 0100", "'@home", "'+15550100")


@pytest.mark.parametrize("between", [";", ";; ", ';"'])
def test_no_cell_is_run_as_a_formula_where_semicolons_part_cells(between: str) -> None:
    """As in Excel where the comma is for decimals: it makes a cell of what follows a semicolon."""
    (row,) = rows(roll_csv([call(first_name=f"Zoë{between}=HYPERLINK(1)")], "UTC"))
    assert row["First Name"] == f"Zoë{between}'=HYPERLINK(1)"
    (row,) = rows(roll_csv([call(first_name="Zoë; a-b")], "UTC"))
    assert row["First Name"] == "Zoë; a-b"


def test_a_call_lasts_from_joining_or_from_admission_and_never_less_than_nothing() -> None:
    assert duration_of(call(left=SPRING + 5)) == 5.0
    assert duration_of(call(joined=SPRING + 4, left=SPRING + 5)) == 1.0
    assert duration_of(call(joined=SPRING + 9, left=SPRING + 5)) == 0.0
