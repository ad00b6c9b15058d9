"""Translations, read from the `.po` files themselves, so that nothing has to be built."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.support import NullTranslations, Translations

LANGUAGES: Final = ("en", "fr", "de", "ja")
"""The languages that people are spoken to in. The English text is in the code."""


@cache
def catalogue(folder: Path, language: str, domain: str) -> NullTranslations:
    """The catalogue `<folder>/<language>/LC_MESSAGES/<domain>.po`; one that translates nothing if there is none."""
    file = folder / language / "LC_MESSAGES" / f"{domain}.po"
    if not file.exists():
        return NullTranslations()
    from babel.messages.mofile import write_mo  # noqa: PLC0415 - slow to import, and not needed for English
    from babel.messages.pofile import read_po  # noqa: PLC0415

    with file.open("rb") as text:
        read = read_po(text, locale=language, domain=domain)
    compiled = BytesIO()
    write_mo(compiled, read)
    compiled.seek(0)
    return Translations(compiled, domain=domain)
