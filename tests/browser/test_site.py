"""The site as its users meet it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from loader.listfile import columns
from tests.browser.conftest import PASSWORD, Open, Site
from tests.integration.processes import wait_until

ALICIA = "/lists/organizer/alicia"
PAGES = {
    "alicia": ["/", ALICIA, f"{ALICIA}/new", f"{ALICIA}/upload", f"{ALICIA}/history", f"{ALICIA}/history/1", "/conferences",
               "/account", "/account/second-factor", "/nothing"],
    "ugo": ["/", "/lists/authorization_code/2696367V", "/upload"],
    "sabine": ["/", "/upload", "/lists/company/globaltest", "/companies/globaltest", "/companies/globaltest/user",
               "/companies/globaltest/user/ugo", "/companies/globaltest/conference/C-1001", "/companies/globaltest/settings", "/conferences", "/audit"],
    "kenji": ["/", "/locked", "/account"],
    "operator": ["/", "/companies", "/companies/palewater", "/companies/palewater/settings", "/switches", "/switches/test", "/sessions", "/audit"],
}  # fmt: skip
LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 320, "height": 640}},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}


def list_file(folder: Path, *lines: str, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_text("\n".join([columns.HEADER, *lines, ""]), encoding="utf-8")
    return file


def person(pin: str, name: str = "Mike") -> str:
    return f"{pin},{name},Doe,XYZ,,,Uxbridge,UK,"


def require_accessible(page: Page, where: str) -> None:
    """WCAG 2.2 AA as far as axe-core can tell, and nothing that has to be scrolled sideways."""
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    told = [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found.response["violations"]]
    assert told == [], f"{where}: {json.dumps(told, indent=1)}"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{where} is {wide} px too wide"


def upload(page: Page, file: Path, base: str = ALICIA) -> None:
    page.goto(f"{base}/upload")
    page.set_input_files("#file", file)
    page.check("input[name=policy]")
    page.click("main button.main")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("user", PAGES)
def test_every_page_is_for_everybody(opened: Open, user: str, look: str) -> None:
    """On a desktop, at 320 px, and in the dark; the sign-in pages too."""
    page = opened(**LOOKS[look])
    for path in ("/signin", "/password/forgot", "/password/new/x"):
        page.goto(path)
        require_accessible(page, path)
    page = opened(user, **LOOKS[look])
    for path in PAGES[user]:
        page.goto(path)
        assert page.locator("h1").count() == 1, path
        require_accessible(page, path)


def test_a_list_is_uploaded_confirmed_and_accepted_on_the_telephone_within_a_second(
    opened: Open, site: Site, tmp_path: Path
) -> None:
    """End to end: the file, the preview, the confirmation, the daemon's answer, and the page that says so by itself."""
    page = opened("alicia")
    upload(page, list_file(tmp_path, person("555001"), person("271828", "Jane"), person("314159", "John")))
    expect(page.locator("h1")).to_have_text("What would change")
    expect(page.locator(".counts .added dd").first).to_have_text("1")
    require_accessible(page, "preview")
    assert not site.daemon.accepts(site.token, "555001")
    page.click("form.confirm button.main")
    confirmed = time.monotonic()
    expect(page.locator("h1")).to_have_text("Your list is uploaded")
    while not site.daemon.accepts(site.token, "555001"):
        assert time.monotonic() - confirmed < 1.0
    expect(page.locator(".live")).to_contain_text("In force since", timeout=1500)
    expect(page.locator(".counts dd").first).to_have_text("3")
    require_accessible(page, "uploaded")
    page.goto(f"{ALICIA}/history")
    page.click("table tbody tr:last-child a")
    page.click("text=Put revision 1 back")
    expect(page.locator(".notice")).to_contain_text("was put back")
    deadline = time.monotonic() + 2
    while not site.daemon.accepts(site.token, "004127"):
        assert time.monotonic() < deadline


def test_a_file_with_errors_changes_nothing_and_says_what_to_mend(opened: Open, tmp_path: Path) -> None:
    page = opened("alicia")
    upload(page, list_file(tmp_path, person("1.23E+09"), person("12"), person("12")))
    expect(page.locator("h1")).to_have_text("Nothing was changed")
    rows = page.locator("table.errors tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("The spreadsheet has turned this PIN into “1.23E+09”")
    require_accessible(page, "refused")
    with page.expect_download() as download:
        page.click("text=Download the faulty lines")
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert text.startswith("Line,What is wrong,PIN Entry Code")


def test_lost_zeros_are_put_back_with_one_click(opened: Open, tmp_path: Path) -> None:
    page = opened("alicia")
    upload(page, list_file(tmp_path, person("4127"), person("271828"), person("314159"), person("602214")))
    page.click("text=Restore the zeros")
    expect(page.locator(".notice.warning")).to_contain_text("were restored")
    expect(page.locator(".counts .removed dd").first).to_have_text("0")
    page.click("text=Cancel")
    expect(page.locator(".notice")).to_contain_text("Nothing was changed")


def test_it_all_works_without_javascript(opened: Open, tmp_path: Path) -> None:
    page = opened("ugo", javascript=False)
    base = "/lists/authorization_code/2696367V"
    upload(page, list_file(tmp_path, person("330033", "Nia"), person("440044", "Owen"), person("550055", "Pia")), base)
    page.click("form.confirm button.main")
    expect(page.locator("h1")).to_have_text("Your list is uploaded")
    page.goto(base)
    page.fill("#query", "550055")
    page.click("form[role=search] button")
    expect(page.locator("p[role=status]")).to_have_text("Your search gave 1 result.")
    page.click("table.rows .switch")
    expect(page.locator(".notice")).to_contain_text("1 person was switched off.")


def test_a_person_is_added_changed_switched_off_and_deleted(opened: Open, site: Site) -> None:
    page = opened("sabine", locale="en")
    page.goto("/lists/company/globaltest")
    with page.expect_navigation():
        page.locator("footer select").select_option("en")
    page.goto("/lists/company/globaltest/new")
    page.click("text=Suggest one")
    pin = page.input_value("#pin")
    assert re.fullmatch(r"[1-9][0-9]{5}", pin)
    page.fill("#first_name", "Zoë")
    page.click("text=Add the person")
    expect(page.locator("#last_name-problem")).to_be_visible()
    assert page.input_value("#first_name") == "Zoë"
    require_accessible(page, "entry with errors")
    for name, value in (("last_name", "Muster"), ("company", "XYZ"), ("city", "Lyon"), ("state_country", "FR")):
        page.fill(f"#{name}", value)
    page.click("text=Add the person")
    expect(page.locator(".notice")).to_have_text("Zoë Muster was added.")
    row = page.locator("table.rows tbody tr", has_text="Muster")
    row.locator("text=Edit").click()
    page.fill("#city", "Paris")
    page.click("text=Save")
    row = page.locator("table.rows tbody tr", has_text="Paris")
    row.locator(".switch").click()
    expect(page.locator("table.rows tbody tr", has_text="Paris").locator(".switch")).to_have_attribute(
        "aria-checked", "false"
    )
    deadline = time.monotonic() + 2
    while site.daemon.ask(site.token, pin).json.get("reason") != "inactive_pin":
        assert time.monotonic() < deadline
    page.locator("table.rows tbody tr", has_text="Paris").locator("text=Delete").click()
    require_accessible(page, "delete")
    page.click("main button.danger")
    expect(page.locator(".notice")).to_have_text("1 person was deleted.")


def test_the_whole_way_goes_by_keyboard(opened: Open) -> None:
    """From signing in to the list, without a mouse."""
    page = opened()
    page.goto("/signin")
    page.keyboard.type("alicia")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Welcome")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("main a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Alicia Customer")


def test_the_language_is_chosen_and_remembered(opened: Open) -> None:
    """By the browser's wish, by the user's setting, by the choice on the page; in that order of growing weight."""
    page = opened(locale="fr-FR")
    page.goto("/signin")
    assert page.get_attribute("html", "lang") == "fr"
    page = opened("alicia", locale="de-DE")
    assert page.get_attribute("html", "lang") == "en"
    with page.expect_navigation():
        page.locator("footer select").select_option("ja")
    page.goto("/conferences")
    assert page.get_attribute("html", "lang") == "ja"


def test_a_new_user_gets_a_link_and_signs_in(opened: Open, site: Site) -> None:
    page = opened("operator")
    page.goto("/companies/palewater/user")
    for name, value in (("id", "nils"), ("name", "Nils Newcomer"), ("email", "nils@example.com")):
        page.fill(f"#{name}", value)
    page.select_option("#role", "coordinator")
    page.click("main button.main")
    expect(page.locator(".notice")).to_contain_text("nils@example.com")
    deadline = time.monotonic() + 5
    link = None
    while link is None:
        assert time.monotonic() < deadline
        for mail in site.outbox.glob("*.eml") if site.outbox.exists() else []:
            text = mail.read_text().replace("=\n", "")
            if "nils@example.com" in text:
                link = re.search(r"/password/new/[\w-]+", text)
    guest = opened()
    guest.goto(link[0])
    for field in ("#password", "#again"):
        guest.fill(field, "four words of mine")
    guest.click("main button.main")
    guest.fill("#name", "nils")
    guest.fill("#password", "four words of mine")
    guest.click("main button.main")
    expect(guest.locator("h1")).to_have_text("Welcome, Nils Newcomer")


def test_a_switch_gets_a_token_that_works(opened: Open, site: Site) -> None:
    page = opened("operator")
    page.goto("/switches")
    page.fill("#name", "pbx-9")
    page.click("text=Make its token")
    token = page.inner_text("code.token")
    require_accessible(page, "token")
    deadline = time.monotonic() + 2
    while site.daemon.ask(token, "900001").status != 200:
        assert time.monotonic() < deadline
    page.goto("/switches")
    assert token not in page.content()
    page.click("text=pbx-9")
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".notice")).to_contain_text("pbx-9")


def test_a_token_is_rotated_and_no_call_is_lost(opened: Open, site: Site) -> None:
    """The old one is good until it is ended; where it may be asked from is in force within a second. Without a script."""
    page = opened("operator", javascript=False)
    page.goto("/switches")
    page.fill("#name", "pbx-8")
    page.click("text=Make its token")
    tokens = [page.inner_text("code.token")]
    page.goto("/switches/pbx-8")
    page.select_option("#overlap", "3600")
    page.click("text=Make a new token")
    tokens.append(page.inner_text("code.token"))
    wait_until(lambda: [site.daemon.ask(token, "900001").status for token in tokens] == [200, 200], within=2)
    page.click("text=End the old token now")
    expect(page.locator(".notice")).to_contain_text("The old token of pbx-8")
    wait_until(lambda: [site.daemon.ask(token, "900001").status for token in tokens] == [401, 200], within=2)
    page.fill("#networks", "192.0.2.0/24")
    page.fill("#rate", "x")
    page.click("#limits button")
    expect(page.locator("#networks")).to_have_value("192.0.2.0/24")
    page.fill("#rate", "50")
    page.click("#limits button")
    wait_until(lambda: site.daemon.ask(tokens[1], "900001").status == 401, within=2)
    seen = opened("operator")
    seen.goto("/switches/pbx-8")
    require_accessible(seen, "switch")
    seen.fill("#rate", "x")
    seen.click("#limits button")
    require_accessible(seen, "limits")
    seen.select_option("#overlap", "86400")
    seen.click("text=Make a new token")
    require_accessible(seen, "rotated")
    seen.get_by_role("button", name="Remove").click()


def test_pin_entry_is_switched_off_and_on_again(opened: Open, site: Site) -> None:
    page = opened("alicia")
    page.goto("/conferences")
    row = page.locator("tr", has_text="C-1001")
    row.locator(".switch").click()
    deadline = time.monotonic() + 2
    while site.daemon.ask(site.token, "").json.get("pin_entry") is not False:
        assert time.monotonic() < deadline
    page.locator("tr", has_text="C-1001").locator(".switch").click()
    expect(page.locator("tr", has_text="C-1001").locator(".switch")).to_have_attribute("aria-checked", "true")


def test_people_are_invited_from_the_preview_to_what_became_of_it(opened: Open, site: Site) -> None:
    """The date first; then the page follows by itself until all are sent. It works without a script, too."""
    page = opened("alicia")
    page.goto("/conferences/C-1002/date")
    require_accessible(page, "date")
    page.fill("#date", "2099-05-04")
    page.fill("#time", "14:30")
    page.fill("#time_zone", "Europe/Paris")
    page.click("main button.main")
    expect(page.locator(".notice")).to_have_text("The date is saved.")
    page.goto("/conferences/C-1002/invite")
    require_accessible(page, "invite")
    expect(page.locator(".mail-text")).to_contain_text("Monday, May 4, 2099")
    page.click("form.confirm button.main")
    expect(page.locator("h1")).to_have_text("Who was invited")
    expect(page.locator("progress")).to_have_count(0, timeout=20_000)
    expect(page.locator("tbody tr").first).to_contain_text("Sent")
    require_accessible(page, "invitations")
    bare = opened("alicia", javascript=False)
    bare.goto("/conferences/C-1002/invitations")
    bare.locator("tbody tr button.link").first.click()
    expect(bare.locator(".notice").first).to_have_text("1 invitation is on its way.")
    assert any(b"invitation.ics" in file.read_bytes() for file in site.outbox.glob("*.eml"))


def test_rolls_by_mail_are_switched_on_and_off(opened: Open) -> None:
    page = opened("alicia")
    page.goto("/conferences")
    for on in ("true", "false"):
        page.get_by_role("switch", name="Rolls by mail").click()
        expect(page.get_by_role("switch", name="Rolls by mail")).to_have_attribute("aria-checked", on)
    require_accessible(page, "conferences")
