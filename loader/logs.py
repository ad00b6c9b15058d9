"""Logs: one way out for what Rollcall says and for what the libraries under it say.

Never logged, at no level: PINs, passcodes (callers key PINs for them by mistake), tokens, keys, passwords, whole
requests with their headers, the values of SQL statements, and of an exception neither the local values nor its text,
which may repeat what was keyed or typed. Who logs leaves them out; :func:`without_secrets` is only the last line of defence. What is logged instead: the IDs of conferences,
owners, switches and verifications.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

SECRET_FIELDS: Final = frozenset(
    "pin pins passcode passcodes token tokens key keys authorization password passwords secret secrets cookie".split()
)
"""A field with such a name, or with one that ends in `_` and such a word, is dropped."""

_QUIET: Final = ("aiosqlite", "sqlalchemy")
"""At a lower level these tell statements with their values."""

_SILENT: Final = ("aiohttp.access",)
"""Its lines hold URLs, and those hold passcodes. The doors have metrics and logs of their own."""


def configure_logs(
    format: Literal["auto", "json", "text"] = "auto",  # noqa: A002 - the word of the settings
    level: Literal["debug", "info", "warning", "error"] = "info",
    *,
    stream: TextIO | None = None,
) -> None:
    """Send all logs to `stream` (standard error if None): one JSON object a line, or readable lines.

    `auto` is readable on a terminal and JSON elsewhere. Times are ISO 8601 in UTC. May be called again, as when the
    settings were read again.
    """
    out = sys.stderr if stream is None else stream
    readable = format == "text" or (format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(out, readable=readable),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SILENT:
        logging.getLogger(name).disabled = True
    logging.captureWarnings(capture=True)
    # A log that cannot be written would be told of by printing what it was to hold.
    logging.raiseExceptions = False


def without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop every field whose name says that it should not be there, however deep in the values it stands."""
    # What begins with an underscore is structlog's own, on its way to the formatter.
    return {
        name: value if name.startswith("_") or name == "exc_info" else _without_secrets(value)
        for name, value in event.items()
        if not _is_secret(name)
    }


def _rendering(out: TextIO, *, readable: bool) -> list[Processor]:
    if readable:
        plain = structlog.dev.plain_traceback  # with another, structlog warns of what is done before it
        return [_EXCEPTIONS, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    return [_EXCEPTIONS, structlog.processors.JSONRenderer(ensure_ascii=False)]


def exception_told(exc_info: ExcInfo) -> str:
    """What was raised and where, and then what it was raised from."""
    told = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        kind = type(error)
        lines = "".join(traceback.format_tb(error.__traceback__))
        told.append(f"Traceback (most recent call last):\n{lines}{kind.__module__}.{kind.__qualname__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nraised from\n\n".join(told)


_EXCEPTIONS: Final = structlog.processors.ExceptionRenderer(exception_told)


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and name.lower().replace("-", "_").rpartition("_")[2] in SECRET_FIELDS


def _without_secrets(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return {name: _without_secrets(inner) for name, inner in value.items() if not _is_secret(name)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_without_secrets(inner) for inner in value]
    return value
