"""Rolls as they are watched: by whoever holds a conference, and by whoever looks after it."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Site
from tests.browser.test_site import LOOKS, require_accessible

LONDON = "5550142"
"""The passcode of Bruno's conference. Its callers are in the list of an authorization code."""
WITHIN = 1000
"""Milliseconds in which a page shows what a switch was answered."""
numbers = count()


class Caller:
    """One call, let in."""

    def __init__(self, site: Site, pin: str) -> None:
        self._site = site
        self._call_id = f"browser-{next(numbers)}"
        assert site.daemon.admits(site.token, self._call_id, pin, LONDON)

    def tell(self, event: str) -> None:
        assert self._site.daemon.tell(self._site.token, self._call_id, event) == 204


Call = Callable[[str], Caller]


@pytest.fixture
def call(site: Site) -> Iterator[Call]:
    """`call(pin)`: somebody calls London. Whoever is in at the end of a test leaves then."""
    callers: list[Caller] = []

    def made(pin: str) -> Caller:
        callers.append(Caller(site, pin))
        return callers[-1]

    yield made
    for caller in callers:
        caller.tell("left")


def watch(page: Page, title: str = "London desk") -> None:
    """Go to the roll of what is on, as soon as it is there."""
    link = page.locator("main section").first.get_by_role("link", name=title)
    deadline = time.monotonic() + 5
    while page.goto("/rolls") and not link.count():
        assert time.monotonic() < deadline
    link.click()
    expect(page.locator("h1")).to_have_text(title)


def row(page: Page, part: str, name: str) -> Locator:
    return page.locator(f"#{part}-rows tbody tr", has_text=name)


def test_who_is_let_in_and_who_leaves_is_on_the_page_within_a_second(opened: Open, call: Call) -> None:
    """Without a click, and with all that was typed and closed left as it is."""
    call("330033")
    page = opened("sabine")
    with page.expect_navigation():
        page.locator("footer select").select_option("en")
    watch(page)
    expect(page.locator("[data-state=on]")).to_be_visible()
    expect(row(page, "missing", "Owen")).to_be_visible()
    page.fill("#q", "owen")
    expect(row(page, "present", "Nia")).to_be_hidden()
    page.click("#missing summary")
    owen = call("440044")
    expect(row(page, "present", "Owen")).to_be_visible(timeout=WITHIN)
    expect(row(page, "missing", "Owen")).to_have_count(0)
    expect(row(page, "present", "Nia")).to_be_hidden()
    assert page.input_value("#q") == "owen"
    assert page.get_attribute("#missing", "open") is None
    owen.tell("joined")
    expect(row(page, "present", "Owen")).to_contain_text("joined", timeout=WITHIN)
    owen.tell("left")
    expect(row(page, "gone", "Owen")).to_be_visible(timeout=WITHIN)
    page.fill("#q", "")
    call("330033")
    expect(page.locator("#present-rows tbody tr", has_text="same PIN in use twice")).to_have_count(2, timeout=WITHIN)


def test_the_page_says_that_the_conference_is_over(opened: Open, call: Call) -> None:
    """And has durations then, of which none has to be fetched."""
    nia = call("330033")
    page = opened("sabine", locale="en-GB")
    watch(page)
    expect(page.locator("[data-state=on]")).to_be_visible()
    nia.tell("left")
    expect(page.locator("[data-state=over]")).to_be_visible()
    expect(row(page, "call", "Nia").first).to_contain_text(re.compile(r"0:00:0\d"))
    page.reload()
    expect(row(page, "call", "Nia").first).to_be_visible()
    page.fill("#q", "nobody of that name")
    expect(row(page, "call", "Nia").first).to_be_hidden()


def test_the_page_says_that_its_visitor_is_signed_out(opened: Open, call: Call) -> None:
    call("330033")
    page = opened("kenji")
    watch(page)
    expect(page.locator("[data-state=on]")).to_be_visible()
    other = page.context.new_page()
    other.goto("/account")
    other.click("header .who button")
    expect(page.locator("[data-state=signed-out]")).to_be_visible()


def test_a_roll_is_watched_without_javascript(opened: Open, call: Call) -> None:
    call("330033")
    page = opened("kenji", javascript=False)
    watch(page)
    expect(row(page, "present", "Nia")).to_be_visible()
    call("440044")
    deadline = time.monotonic() + 5
    while not row(page, "present", "Owen").count():
        assert time.monotonic() < deadline
        page.locator("[data-state=still] a").click()
    page.fill("#q", "nia")
    page.click("form[role=search] button")
    expect(row(page, "present", "Nia")).to_be_visible()
    expect(row(page, "present", "Owen")).to_have_count(0)


def test_a_roll_is_printed_without_what_is_for_the_screen(opened: Open, call: Call) -> None:
    call("330033")
    page = opened("sabine", color_scheme="dark")
    watch(page)
    page.goto(page.url + "?all=1")
    page.emulate_media(media="print")
    for left_out in (".top", "footer", ".search", ".title .actions"):
        expect(page.locator(left_out).first).to_be_hidden()
    expect(row(page, "present", "Nia")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("user", ["sabine", "kenji", "alicia"])
def test_rolls_are_for_everybody(opened: Open, call: Call, site: Site, user: str, look: str) -> None:
    nia = call("330033")
    watcher = opened("sabine")
    watch(watcher)
    nia.tell("left")
    expect(watcher.locator("[data-state=over]")).to_be_visible()
    over = watcher.url.removeprefix(site.address)
    for _ in range(2):
        call("330033")
    assert site.daemon.accepts(site.token, "900001")
    page = opened(user, **LOOKS[look])
    watch(page, "Weekly call" if user == "alicia" else "London desk")
    expect(page.locator("[data-state=on]")).to_be_visible()
    require_accessible(page, "live")
    paths = ["/rolls"] if user == "alicia" else ["/rolls", over, f"{over}?all=1", f"{over}?q=nobody"]
    if user == "sabine":
        paths += ["/rolls?since=x&organizer=alicia", "/rolls?until=2020-01-01"]
    for path in paths:
        page.goto(path)
        assert page.locator("h1").count() == 1, path
        require_accessible(page, path)
