"""Logs: one form for all, and no secrets."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
import structlog

from loader.index import Question
from loader.logs import configure_logs


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Other tests find logging as it was."""
    root = logging.getLogger()
    handlers, level, showwarning = root.handlers[:], root.level, warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    logging.raiseExceptions = True
    root.handlers, warnings.showwarning = handlers, showwarning
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


_PIN = "271" + "828"


def fail(pin: str) -> None:
    """Something that breaks with a PIN among its local values."""
    try:
        raise KeyError(pin)
    except KeyError as error:
        raise RuntimeError(f"keyed {pin}") from error


def test_a_line_is_one_json_object_with_a_time_in_utc(out: io.StringIO) -> None:
    """In JSON each event is a line by itself, with level, logger and the time in UTC."""
    configure_logs("json", stream=out)
    structlog.get_logger("daemon.reload").info("list_reloaded", owner="organizer:alicia", revision=3)
    (line,) = lines(out)
    told = datetime.fromisoformat(line.pop("timestamp"))
    assert told.tzinfo == UTC
    assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)
    assert line == {
        "event": "list_reloaded",
        "level": "info",
        "logger": "daemon.reload",
        "owner": "organizer:alicia",
        "revision": 3,
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_libraries_come_out_the_same_way(out: io.StringIO, form: Literal["json", "text"]) -> None:
    """What is logged by way of the standard library, and Python's warnings, have the same form."""
    configure_logs(form, stream=out)
    logging.getLogger("asyncio").warning("slow by %s s", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old habits", stacklevel=1)
    assert "slow by 3 s" in out.getvalue()
    assert "old habits" in out.getvalue()
    if form == "json":
        assert [line["logger"] for line in lines(out)] == ["asyncio", "py.warnings"]


@pytest.mark.parametrize(
    ("form", "stream", "readable"),
    [
        ("auto", io.StringIO(), False),
        ("auto", _Terminal(), True),
        ("text", io.StringIO(), True),
        ("json", _Terminal(), False),
    ],
)
def test_the_form_goes_by_the_setting_and_the_terminal(
    form: Literal["auto", "json", "text"], stream: io.StringIO, readable: bool
) -> None:
    """`auto` is readable on a terminal and JSON elsewhere; the others are what they say."""
    configure_logs(form, stream=stream)
    structlog.get_logger("daemon").info("started")
    assert stream.getvalue().startswith("{") is not readable
    assert ("\x1b[" in stream.getvalue()) is (readable and stream.isatty())


def test_the_level_holds_for_all(out: io.StringIO) -> None:
    """Nothing below the level is written, whoever says it; another call changes the level."""
    configure_logs("json", "warning", stream=out)
    log = structlog.get_logger("daemon")
    log.info("quiet")
    logging.getLogger("aiohttp.server").info("quiet")
    assert out.getvalue() == ""
    configure_logs("json", "debug", stream=out)
    log.debug("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


@pytest.mark.parametrize("name", ["aiosqlite", "sqlalchemy.engine.Engine", "aiohttp.access"])
def test_statements_and_urls_are_not_logged_at_any_level(out: io.StringIO, name: str) -> None:
    """Loggers that would tell values of statements, or URLs with passcodes in them, stay quiet."""
    configure_logs("json", "debug", stream=out)
    logging.getLogger(name).debug("SELECT 271828")
    logging.getLogger(name).info("GET /v1/conferences/7784321")
    assert out.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "fields",
    [
        {"pin": "271828"},
        {"passcode": "271828"},
        {"token": "271828"},
        {"Authorization": "Bearer 271828"},
        {"api_token": "271828"},
        {"key": b"271828"},
        {"headers": {"Authorization": "271828", "Host": "example.com"}},
        {"questions": [{"caller": "555", "pin": "271828"}]},
        {"question": Question("7784321", "271828")},
    ],
)
def test_secrets_are_dropped_wherever_they_stand(
    out: io.StringIO, form: Literal["json", "text"], fields: dict[str, Any]
) -> None:
    """A field whose name says PIN, passcode, token, key or authorization never comes out, however deep it stands."""
    configure_logs(form, "debug", stream=out)
    structlog.get_logger("daemon").info("asked", pin_entry=True, key_id="0c50", **fields)
    assert "271828" not in out.getvalue()
    assert "pin_entry" in out.getvalue()
    assert "0c50" in out.getvalue()


@pytest.mark.parametrize("make", [io.StringIO, _Terminal])
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_neither_local_values_nor_what_the_exception_says(
    form: Literal["json", "text"], make: type[io.StringIO]
) -> None:
    """A traceback tells lines of code and what kind of error, and not what the variables or the texts held."""
    out = make()
    configure_logs(form, stream=out)
    try:
        fail(_PIN)
    except RuntimeError:
        structlog.get_logger("daemon").exception("went_wrong")
        logging.getLogger("aiohttp.server").exception("went wrong")
    assert out.getvalue().count("builtins.RuntimeError") == 2
    assert out.getvalue().count("builtins.KeyError") == 2
    assert "in fail" in out.getvalue()
    assert _PIN not in out.getvalue()


def test_a_log_that_cannot_be_written_tells_nothing_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """When the log's own way out is broken, what was to be logged does not come out on standard error instead."""
    broken = io.StringIO()
    configure_logs("json", stream=broken)
    broken.close()
    structlog.get_logger("daemon").info("asked", caller=_PIN)
    assert capsys.readouterr().err == ""
