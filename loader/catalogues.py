"""Translations, read from the `.po` files themselves, so that nothing has to be built. Babel takes long to import."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations


@cache
def catalogue(folder: Path, language: str, domain: str) -> NullTranslations:
    """The catalogue `<folder>/<language>/LC_MESSAGES/<domain>.po`; one that translates nothing if there is none."""
    file = folder / language / "LC_MESSAGES" / f"{domain}.po"
    if not file.exists():
        return NullTranslations()
    with file.open("rb") as text:
        read = read_po(text, locale=language, domain=domain)
    compiled = BytesIO()
    write_mo(compiled, read)
    compiled.seek(0)
    return Translations(compiled, domain=domain)
