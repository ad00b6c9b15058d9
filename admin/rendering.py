"""Templates become pages: in the visitor's language, with dates and numbers as it writes them."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import aiohttp_jinja2
import jinja2
from aiohttp import hdrs, web
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import format_decimal
from babel.units import format_unit

from loader.catalogues import catalogue
from loader.listfile import message
from loader.model import LANGUAGES

if TYPE_CHECKING:
    from admin.visitor import Visitor

FOLDER: Final = Path(__file__).parent
CATALOGUES: Final = FOLDER / "locale"
DOMAIN: Final = "admin"
_ENVIRONMENTS: Final = {language: web.AppKey(f"templates-{language}", jinja2.Environment) for language in LANGUAGES}
LANGUAGE_NAMES: Final = {"en": "English", "fr": "Français", "de": "Deutsch", "ja": "日本語"}


def set_up(app: web.Application, *, time_zone: str, static: Mapping[str, str]) -> None:
    """An environment for each language. `static` gives the address of each static file."""
    zone = ZoneInfo(time_zone)
    for language, key in _ENVIRONMENTS.items():
        environment = aiohttp_jinja2.setup(
            app,
            app_key=key,
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
            default_helpers=False,
        )
        translations = catalogue(CATALOGUES, language, DOMAIN)
        environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
        environment.filters |= {
            "moment": partial(_moment, zone=zone, language=language),
            "number": partial(_number, language=language),
            "clock": partial(_clock, zone=zone, language=language),
            "duration": _duration,
            "hours": partial(_hours, language=language),
            "problem": partial(message, language=language),
        }
        environment.globals |= {
            "static": static,
            "language": language,
            "language_names": LANGUAGE_NAMES,
            "infinity": math.inf,
        }


def render(request: web.Request, visitor: Visitor, template: str, status: int = 200, **context: Any) -> web.Response:
    """A page. It is for this visitor alone, and is not kept anywhere."""
    notices = visitor.session.pop("notices", []) if visitor.session.get("notices") else []
    if "csrf" not in visitor.session:
        # Not before a page with forms is shown: who only knocks has no session.
        visitor.session["csrf"] = secrets.token_urlsafe(24)
    context |= {
        "visitor": visitor,
        "user": visitor.signed_in,
        "csrf": visitor.session["csrf"],
        "notices": notices,
        "path": request.rel_url.path,
    }
    response = aiohttp_jinja2.render_template(
        template, request, context, app_key=_ENVIRONMENTS[visitor.language], status=status
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


def attachment(data: bytes, name: str, media_type: str) -> web.Response:
    """A file to be kept, never shown by the browser itself. `name` is made of IDs, which need no quoting."""
    return web.Response(
        body=data,
        content_type=media_type,
        charset="utf-8" if media_type.startswith("text/") else None,
        headers={hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"', hdrs.CACHE_CONTROL: "no-store"},
    )


def render_part(request: web.Request, visitor: Visitor, template: str, **context: Any) -> str:
    """A part of a page, which is not the place for notices and forms."""
    return aiohttp_jinja2.render_string(
        template, request, context | {"user": visitor.signed_in}, app_key=_ENVIRONMENTS[visitor.language]
    )


def _moment(seconds: float, *, zone: ZoneInfo, language: str) -> str:
    """A time, in seconds since 1970, with its time zone."""
    told = format_datetime(datetime.fromtimestamp(seconds, UTC), "medium", tzinfo=zone, locale=language)
    return f"{told} {datetime.fromtimestamp(seconds, zone).tzname()}"


def _number(value: float, *, language: str) -> str:
    return format_decimal(value, locale=language)


def _clock(seconds: float, since: float, *, zone: ZoneInfo, language: str) -> str:
    """A time of day; with its date if that is not the one of `since`."""
    at, begun = (datetime.fromtimestamp(one, zone) for one in (seconds, since))
    told = format_time(at, "medium", locale=language)
    return told if at.date() == begun.date() else f"{format_date(at, 'medium', locale=language)} {told}"


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 1:02:03."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _hours(seconds: float, *, language: str) -> str:
    """A setting's seconds in words: whole hours, or else minutes."""
    if seconds % 3600:
        return format_unit(round(seconds / 60), "duration-minute", locale=language)
    return format_unit(int(seconds // 3600), "duration-hour", locale=language)
