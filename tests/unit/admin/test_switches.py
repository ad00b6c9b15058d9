"""The operator's pages of switches: their tokens, where they may ask from, and how often."""

import re
import time

import pytest
from aiohttp import ClientResponse

from loader.model import AuditEntry, Switch
from loader.store import Desk, Store
from loader.tokens import token_hash
from tests.unit.admin.conftest import Browser, NewBrowser

TOKEN = re.compile(r'<code class="token">(rc_[\w-]{43})</code>')
FIRST = "rc_the-first"


@pytest.fixture
async def page(browser: NewBrowser, store: Store) -> Browser:
    """An operator, with the page of the switch pbx-1 before her."""
    await store.add_switch(Switch.new("pbx-1", token_hash(FIRST), 10.0))
    opened = await browser("ope")
    assert (await opened.get("/switches/pbx-1")).status == 200
    return opened


async def shown(response: ClientResponse) -> str:
    """The token on a page."""
    assert response.status == 201
    (token,) = TOKEN.findall(await response.text())
    return str(token)


async def known(store: Store) -> list[tuple[bytes, bool]]:
    """The tokens of the switch, and whether each has an end."""
    return [(one.hash, one.expires_at is not None) for one in (await store.switch("pbx-1")).tokens]


async def audited(store: Store) -> list[AuditEntry]:
    _, entries = await Desk(store).audit()
    return [entry for entry in entries if entry.action.startswith("switch_")]


async def test_a_switch_is_added_and_its_token_is_shown_this_once(browser: NewBrowser, store: Store) -> None:
    opened = await browser("ope")
    token = await shown(await opened.post("/switches", {"name": "pbx-1"}))
    assert await known(store) == [(token_hash(token), False)]
    for path in "/switches", "/switches/pbx-1":
        text = await (await opened.get(path)).text()
        assert token not in text
        assert token_hash(token).hex()[:8] in text
    for name, told in (("pbx-1", "taken already"), ("p b x", "Letters and digits only")):
        response = await opened.post("/switches", {"name": name})
        assert response.status == 422
        assert told in await response.text()


async def test_a_new_token_is_made_and_the_old_one_stays_for_as_long_as_was_chosen(page: Browser, store: Store) -> None:
    before = time.time()
    token = await shown(await page.post("/switches/pbx-1/rotate", {"overlap": "3600"}))
    old, new = (await store.switch("pbx-1")).tokens
    assert (old.hash, new.hash, new.expires_at) == (token_hash(FIRST), token_hash(token), None)
    assert before + 3600 <= (old.expires_at or 0) <= time.time() + 3600
    text = await (await page.get("/switches/pbx-1")).text()
    assert all(one.fingerprint in text for one in (old, new))
    assert "End the old token now" in text
    assert "Make a new token" not in text
    assert "until" in await (await page.get("/switches")).text()


async def test_the_old_token_may_end_at_once(page: Browser, store: Store) -> None:
    token = await shown(await page.post("/switches/pbx-1/rotate", {"overlap": "0"}))
    assert await known(store) == [(token_hash(token), False)]


async def test_to_send_the_form_again_makes_no_third_token(page: Browser, store: Store) -> None:
    """As when the page with the token is loaded anew."""
    await page.post("/switches/pbx-1/rotate", {"overlap": "3600"})
    before = await known(store)
    response = await page.post("/switches/pbx-1/rotate", {"overlap": "3600"})
    assert response.status == 409
    text = await response.text()
    assert "Nothing was changed: the old token is still good beside the new one." in text
    assert not TOKEN.search(text)
    assert await known(store) == before


@pytest.mark.parametrize("overlap", ["", "1", "-3600", "x", "3600.0"])
async def test_only_what_is_offered_can_be_chosen(page: Browser, store: Store, overlap: str) -> None:
    assert (await page.post("/switches/pbx-1/rotate", {"overlap": overlap})).status == 422
    assert await known(store) == [(token_hash(FIRST), False)]


async def test_a_new_token_that_was_lost_is_made_again(page: Browser, store: Store) -> None:
    await page.post("/switches/pbx-1/rotate", {"overlap": "3600"})
    token = await shown(await page.post("/switches/pbx-1/again"))
    assert await known(store) == [(token_hash(FIRST), True), (token_hash(token), False)]


async def test_the_old_token_can_be_ended_before_its_time(page: Browser, store: Store) -> None:
    token = await shown(await page.post("/switches/pbx-1/rotate", {"overlap": "3600"}))
    response = await page.post("/switches/pbx-1/end-old")
    assert (response.status, response.headers["Location"]) == (303, "/switches/pbx-1")
    assert await known(store) == [(token_hash(token), False)]
    assert "The old token of pbx-1 is refused from now on." in await (await page.get("/switches/pbx-1")).text()


async def test_a_token_that_has_expired_is_shown_no_more(page: Browser, store: Store) -> None:
    async with store.writing() as writing:
        await writing.rotate_token("pbx-1", token_hash("rc_new"), time.time() - 20, 10.0)
    text = await (await page.get("/switches/pbx-1")).text()
    assert token_hash(FIRST).hex()[:8] not in text
    assert "Make a new token" in text


async def test_addresses_and_rate_are_set_and_taken_away(page: Browser, store: Store) -> None:
    typed = {"networks": " 192.0.2.7\r\n2001:DB8::/32\n", "rate": " 50 "}
    assert (await page.post("/switches/pbx-1/limits", typed)).status == 303
    switch = await store.switch("pbx-1")
    assert (switch.networks, switch.rate) == (("192.0.2.7", "2001:db8::/32"), 50)
    text = await (await page.get("/switches/pbx-1")).text()
    assert ">192.0.2.7\n2001:db8::/32</textarea>" in text
    assert 'value="50"' in text
    for rate, expected in (("0", 0), ("", None)):
        await page.post("/switches/pbx-1/limits", {"networks": "", "rate": rate})
        switch = await store.switch("pbx-1")
        assert (switch.networks, switch.rate) == ((), expected)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ({"networks": "192.0.2.7/24"}, "networks-problem"),
        ({"networks": "192.0.2.7, 192.0.2.8"}, "networks-problem"),
        ({"networks": "<b>"}, "networks-problem"),
        ({"rate": "-1"}, "rate-problem"),
        ({"rate": "1.5"}, "rate-problem"),
        ({"rate": "100001"}, "rate-problem"),
    ],
)
async def test_what_is_wrong_is_told_and_shown_again_and_changes_nothing(
    page: Browser, store: Store, typed: dict[str, str], problem: str
) -> None:
    before = await store.switch("pbx-1")
    response = await page.post("/switches/pbx-1/limits", {"networks": "192.0.2.9", "rate": "5"} | typed)
    assert response.status == 422
    text = await response.text()
    assert f'id="{problem}"' in text
    (kept,) = typed.values()
    assert kept.replace("<", "&lt;").replace(">", "&gt;") in text
    assert await store.switch("pbx-1") == before


async def test_a_switch_is_removed(page: Browser, store: Store) -> None:
    assert (await page.post("/switches/pbx-1/remove")).status == 303
    assert await store.switches() == []
    assert (await page.get("/switches/pbx-1")).status == 404


async def test_all_that_is_done_is_in_the_audit_trail_and_no_token(page: Browser, store: Store) -> None:
    first = await shown(await page.post("/switches/pbx-1/rotate", {"overlap": "3600"}))
    second = await shown(await page.post("/switches/pbx-1/again"))
    await page.post("/switches/pbx-1/end-old")
    await page.post("/switches/pbx-1/limits", {"networks": "192.0.2.7", "rate": "5"})
    await page.post("/switches/pbx-1/limits", {"networks": "", "rate": ""})
    await page.post("/switches/pbx-1/remove")
    entries = await audited(store)
    assert [(entry.user_id, entry.target) for entry in entries] == [("ope", "pbx-1")] * 6
    assert [(entry.action, entry.detail) for entry in reversed(entries)] == [
        ("switch_token_rotated", "overlap 3600 s"),
        ("switch_token_replaced", ""),
        ("switch_old_token_ended", ""),
        ("switch_changed", "from 192.0.2.7; rate 5"),
        ("switch_changed", "from anywhere; rate default"),
        ("switch_removed", ""),
    ]
    assert not any(token in repr(entries) for token in (first, second))


@pytest.mark.parametrize("action", ["rotate", "again", "end-old", "limits", "remove"])
@pytest.mark.parametrize("user", ["org", "sup", "coo"])
async def test_only_operators_change_switches(browser: NewBrowser, store: Store, user: str, action: str) -> None:
    """To anybody else there is nothing at that address; nor is there to operators if the switch is not there."""
    await store.add_switch(Switch.new("pbx-1", token_hash(FIRST), 10.0))
    opened = await browser(user)
    assert (await opened.get("/switches/pbx-1")).status == 404
    typed = {"overlap": "0", "rate": "1"}
    assert (await opened.post(f"/switches/pbx-1/{action}", typed)).status == 404
    operator = await browser("ope")
    assert (await operator.post(f"/switches/pbx-9/{action}", typed)).status == 404
    operator.csrf = "forged"
    assert (await operator.post(f"/switches/pbx-1/{action}", typed)).status == 403
    assert await store.switches() == [Switch.new("pbx-1", token_hash(FIRST), 10.0)]


async def test_a_rate_of_the_settings_is_told(page: Browser) -> None:
    assert (
        "Empty means any number, as everywhere in this installation."
        in await (await page.get("/switches/pbx-1")).text()
    )
