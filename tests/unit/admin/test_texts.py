"""Every text is in the catalogues, and translated."""

import re
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import admin
import loader
from admin.rendering import CATALOGUES
from loader.model import LANGUAGES
from tests.unit.admin.conftest import NewBrowser

ADMIN = Path(admin.__file__).parent
LOADER = Path(loader.__file__).parent
DOMAINS = {"admin": CATALOGUES, "rollcall": LOADER / "locale"}
OTHERS = [language for language in LANGUAGES if language != "en"]
LEFT = {"ID", "CSV", "Excel", "Rollcall"}
"""What is the same in every language."""


def ids(file: Path) -> set[str | tuple[str, ...]]:
    with file.open("rb") as text:
        return {
            message.id if isinstance(message.id, str) else tuple(message.id) for message in read_po(text) if message.id
        }


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s", text)) | {
        name for _, name, _, _ in Formatter().parse(text.replace("%", "%%")) if name
    }


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_text_is_translated_with_the_same_placeholders(domain: str, language: str) -> None:
    folder = DOMAINS[domain]
    with (folder / language / "LC_MESSAGES" / f"{domain}.po").open("rb") as text:
        catalogue = read_po(text)
    assert ids(folder / f"{domain}.pot") == ids(folder / language / "LC_MESSAGES" / f"{domain}.po")
    for message in catalogue:
        if not message.id:
            continue
        assert not message.fuzzy
        told = [message.string] if isinstance(message.string, str) else list(message.string or ())
        asked = message.id if isinstance(message.id, str) else message.id[-1]
        for one in told:
            assert one, message.id
            assert placeholders(one) == placeholders(asked), message.id


def test_the_template_of_the_sites_texts_is_up_to_date() -> None:
    """`make catalogues` brings it up to date."""
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    found = extract_from_dir(ADMIN, method_map=methods, options_map={"templates/**.html": {"newstyle_gettext": "true"}})
    assert {text[2] for text in found} == ids(CATALOGUES / "admin.pot")


@pytest.mark.parametrize("template", sorted((ADMIN / "templates").glob("*.html")), ids=lambda file: file.name)
def test_no_text_of_a_page_is_outside_the_catalogues(template: Path) -> None:
    """What is left of a template without what is translated, without tags and without expressions has no letter."""
    text = template.read_text()
    text = re.sub(r"{% trans.*?{% endtrans %}", "", text, flags=re.DOTALL)
    text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "", text, flags=re.DOTALL)
    for attribute in re.findall(r'(?:aria-label|alt|placeholder|title)="([^"]*)"', text):
        assert not re.search(r"[^\W\d_]", attribute), attribute
    # Tags; and what a macro puts into one: attributes, and what follows an address.
    left = re.sub(r'<[^>]*>|[\w-]+="[^"]*"|[?&]?\w+=', " ", text)
    words = {word for word in re.findall(r"[^\W\d_]+", left) if word not in LEFT}
    assert words == set()


@pytest.mark.parametrize(
    ("language", "told"), [("fr", "Se connecter"), ("de", "Anmelden"), ("ja", "サインイン"), ("en", "Sign in")]
)
async def test_pages_are_in_the_language_that_the_browser_wishes(browser: NewBrowser, language: str, told: str) -> None:
    opened = await browser()
    page = await (await opened.get("/signin", headers={"Accept-Language": f"{language};q=0.9, xx"})).text()
    assert f'<html lang="{language}">' in page
    assert f"<h1>{told}</h1>" in page


@pytest.mark.parametrize(
    ("language", "told"),
    [("fr", "n’a encore changé"), ("de", "Noch hat sich nichts geändert"), ("ja", "まだ何も変更されていません")],
)
async def test_what_a_user_chooses_weighs_more(browser: NewBrowser, language: str, told: str) -> None:
    """Messages, numbers, dates and the errors of a file follow."""
    opened = await browser("org")
    response = await opened.post("/language", {"language": language, "back": "/upload"})
    assert response.headers["Location"] == "/upload"
    await opened.get("/upload")
    from tests.unit.admin.conftest import list_file

    location = await opened.staged(list_file("1000", "1001", "1002"))
    assert told in await (await opened.get(location)).text()
    location = await opened.staged(list_file("1"))
    page = await (await opened.get(location)).text()
    assert "is too short" not in page
    assert {"fr": "trop court", "de": "zu kurz", "ja": "短すぎます"}[language] in page
