"""Who may do what: section 2 of the design, tried page by page, role by role."""

import pytest

from admin.access import MATRIX, Action, Scope
from loader.model import Role
from loader.store import Desk, Store
from tests.unit.admin.conftest import NewBrowser, list_file

OLIVES_PIN = "271" + "828"

OF_THE_OTHER_COMPANY = [
    "/lists/organizer/tina",
    "/lists/organizer/tina/new",
    "/lists/organizer/tina/upload",
    "/lists/organizer/tina/list.csv",
    "/lists/organizer/tina/list.xlsx",
    "/lists/organizer/tina/in-force",
    "/lists/organizer/tina/history",
    "/lists/organizer/tina/history/1",
    "/lists/organizer/tina/entries/1/0",
    "/lists/authorization_code/21",
    "/lists/company/two",
    "/companies/two",
    "/companies/two/user",
    "/companies/two/user/sup2",
    "/companies/two/organizer/tina",
    "/companies/two/authorization_code/21",
    "/companies/two/conference/B-1",
    "/companies/two/settings",
    "/companies/one/user/sup2",
    "/companies/one/organizer/tina",
    "/companies/one/conference/B-1",
]
POSTS_TO_THE_OTHER_COMPANY = [
    "/lists/organizer/tina/search",
    "/lists/organizer/tina/new",
    "/lists/organizer/tina/entries",
    "/lists/organizer/tina/entries/1/0",
    "/lists/organizer/tina/history/1",
    "/conferences/B-1/pin-entry",
    "/companies/two/user",
    "/companies/two/user/sup2",
    "/companies/two/conference/B-1",
    "/companies/two/settings/dial-in",
    "/companies/two/settings/keeping",
    "/companies/two/settings/webhook",
    "/companies/two/settings/webhook/test",
    "/companies/one/user/sup2",
]
OF_NOBODY = [
    "/lists/organizer/nobody",
    "/lists/x/y",
    "/companies/nobody",
    "/companies/nobody/settings",
    "/lists/organizer/olive/history/99",
    "/nothing",
]


def test_every_role_has_its_place_in_every_row_of_the_matrix() -> None:
    for action in Action:
        assert set(MATRIX[action]) == set(Role)


def plain(page: str) -> str:
    """A page without what depends on its address alone."""
    return page.replace(' aria-current="page"', "")


@pytest.mark.parametrize("user", ["org", "adm", "whole", "sup", "coo"])
async def test_another_companys_things_are_told_as_those_that_do_not_exist(browser: NewBrowser, user: str) -> None:
    """The same 404, with the same words, for what is there and what is not."""
    opened = await browser(user)
    nothing = plain(await (await opened.get("/nothing")).text())
    for path in OF_THE_OTHER_COMPANY + OF_NOBODY:
        response = await opened.get(path)
        assert response.status == 404, path
        assert plain(await response.text()).replace(path, "/nothing") == nothing, path
    for path in POSTS_TO_THE_OTHER_COMPANY:
        assert (await opened.post(path, {"action": "delete", "at": "0"})).status == 404, path
    assert (await opened.upload(list_file("1234"), "organizer:tina")).status == 404


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ("org", ["/lists/organizer/olive", "/conferences", "/upload", "/locked"]),
        ("adm", ["/lists/authorization_code/11", "/upload"]),
        ("whole", ["/lists/company/one", "/upload"]),
        (
            "sup",
            [
                "/lists/organizer/olive",
                "/lists/organizer/otto",
                "/lists/authorization_code/11",
                "/lists/authorization_code/12",
                "/lists/company/one",
                "/conferences",
                "/locked",
                "/upload",
                "/companies/one",
                "/companies/one/user/org",
                "/companies/one/settings",
                "/audit",
                "/audit.csv",
            ],
        ),
        ("coo", ["/locked"]),
        (
            "ope",
            [
                "/companies",
                "/companies/one",
                "/companies/one/user/org",
                "/companies/two/user/sup2",
                "/companies/one/settings",
                "/companies/two/settings",
                "/switches",
                "/locked",
                "/sessions",
                "/audit",
                "/audit.csv",
            ],
        ),
    ],
)
async def test_every_role_has_its_own_pages_and_no_others(browser: NewBrowser, user: str, allowed: list[str]) -> None:
    """Everybody has a welcome page and an account."""
    pages = [
        "/lists/organizer/olive", "/lists/organizer/otto", "/lists/authorization_code/11",
        "/lists/authorization_code/12", "/lists/company/one", "/conferences", "/upload", "/companies",
        "/companies/one", "/companies/one/user/org", "/companies/two/user/sup2",
        "/companies/one/settings", "/companies/two/settings", "/switches", "/sessions", "/audit",
        "/audit.csv", "/locked",
    ]  # fmt: skip
    opened = await browser(user)
    for path in pages:
        assert (await opened.get(path)).status == (200 if path in allowed else 404), path
    for path in ("/", "/account", "/account/second-factor", "/template.csv"):
        assert (await opened.get(path)).status == 200


async def test_who_is_not_signed_in_is_sent_to_sign_in_wherever_he_goes(browser: NewBrowser) -> None:
    """And is told nothing of what is there."""
    opened = await browser()
    for path in ["/", "/upload", "/audit", "/lists/organizer/olive", *OF_THE_OTHER_COMPANY, *OF_NOBODY]:
        response = await opened.get(path)
        assert response.status == 303, path
        assert response.headers["Location"].startswith("/signin"), path
    for path in POSTS_TO_THE_OTHER_COMPANY:
        assert (await opened.post(path)).status in (403, 404), path


async def test_an_organizer_sees_no_conference_but_her_own(browser: NewBrowser) -> None:
    page = await (await (await browser("org")).get("/conferences")).text()
    assert "A-1" in page
    assert "A-2" not in page
    page = await (await (await browser("sup")).get("/conferences")).text()
    assert "A-1" in page
    assert "A-2" in page
    assert "B-1" not in page


async def test_an_organizer_switches_no_conference_but_her_own(browser: NewBrowser) -> None:
    opened = await browser("org")
    assert (await opened.post("/conferences/A-2/pin-entry", {"pin_entry": "0"})).status == 404
    assert (await opened.post("/conferences/A-1/pin-entry", {"pin_entry": "0"})).status == 303


async def test_a_super_administrator_reads_the_audit_of_her_company_alone(browser: NewBrowser) -> None:
    for user in ("sup", "sup2"):
        await (await browser(user)).get("/lists/organizer/olive")
    page = await (await (await browser("sup2")).get("/audit")).text()
    assert "<td>sup2</td>" in page
    assert "<td>sup</td>" not in page


def test_nobody_but_lists_keepers_sees_a_pin() -> None:
    assert MATRIX[Action.LISTS][Role.COORDINATOR] is Scope.NOTHING
    assert MATRIX[Action.LISTS][Role.OPERATOR] is Scope.NOTHING


async def test_what_breaks_inside_is_a_page_too_and_tells_nothing(
    browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the headers of every other page, names no software, and repeats nothing of what broke."""

    async def broken(*_: object) -> str:
        raise ValueError(OLIVES_PIN)

    opened = await browser("org")
    monkeypatch.setattr("loader.store.Desk.name_of", broken)
    response = await opened.get("/lists/organizer/olive")
    page = await response.text()
    assert (response.status, response.content_type) == (500, "text/html")
    assert "Something broke" in page
    assert OLIVES_PIN not in page
    monkeypatch.setattr("admin.errors.render", broken)
    bare = await opened.get("/lists/organizer/olive")
    assert (bare.status, OLIVES_PIN in await bare.text()) == (500, False)
    for answer in (response, bare):
        assert answer.headers["Server"] == "Rollcall"
        assert "Content-Security-Policy" in answer.headers


async def test_who_is_removed_is_signed_out_and_leaves_only_what_he_did(browser: NewBrowser, store: Store) -> None:
    """With an upload under way, a consent and a session; nobody removes himself or a user of another company."""
    olive, sup = await browser("org"), await browser("sup")
    location = await olive.staged(list_file("1000", "1001"))
    assert (await sup.post("/companies/one/user/sup", {"delete": "1"})).status == 404
    assert (await sup.post("/companies/two/user/sup2", {"delete": "1"})).status == 404
    await sup.get("/companies/one/user/org")
    assert (await sup.post("/companies/one/user/org", {"delete": "1"})).headers["Location"] == "/companies/one"
    page = await (await sup.get("/companies/one")).text()
    assert "/companies/one/user/org" not in page
    assert "/companies/one/user/adm" in page
    assert (await olive.get(location)).headers["Location"].startswith("/signin")
    assert (await (await browser()).sign_in("org")).status == 403
    _, done = await Desk(store).audit(user_id="sup")
    assert done[0].action == "user_removed"
    _, before = await Desk(store).audit(user_id="org")
    assert before


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"csrf=\xff\xfe"),
        ("application/x-www-form-urlencoded; charset=nope", b"csrf=x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"x"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nx"),
        ("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\nx"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\n\xff\r\n--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=csrf\r\nContent-Transfer-Encoding: no\r\n\r\n.\r\n--x--\r\n",
        ),
        ("application/json", b"{}"),
        ("text/plain", b"csrf=x"),
    ],
)
async def test_what_is_no_form_changes_nothing_and_breaks_nothing(
    browser: NewBrowser, media_type: str, body: bytes
) -> None:
    opened = await browser("sup")
    for path in ("/signin", "/upload", "/conferences/A-1/date", "/companies/one/settings/dial-in"):
        response = await opened.client.post(path, data=body, headers={"Content-Type": media_type})
        assert response.status == 403, path


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "x"])
async def test_the_audit_is_searched_by_any_day(browser: NewBrowser, day: str) -> None:
    """The last day that there is has none after it."""
    opened = await browser("sup")
    assert (await opened.get(f"/audit?since={day}&until={day}")).status == 200
