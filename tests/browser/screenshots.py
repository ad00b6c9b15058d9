"""`make screenshots`: the pictures of every page in docs/screenshots, with the demo's made-up people."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from loader.listfile import columns
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGUMENTS, PASSWORD, Site

_OUTPUT: Final = Path("docs/screenshots")
_ALICIA: Final = "/lists/organizer/alicia"
_DESKTOP: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 800}}
_PHONE: Final[dict[str, Any]] = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 1}
_GOOD: Final = (
    "4127,Mike,Doe,XYZ,+44 20 555 0101,mike.doe@example.com,Uxbridge,UK,",
    "271828,Jane,Doe,XYZ,+44 20 555 0102,jane.doe@example.com,London,UK,",
    "314159,John,Doe,XYZ,+1 303 555 0103,john.doe@example.com,Boulder,CO,",
    "602214,Janet,Doe,XYZ,+1 303 555 0104,janet.doe@example.com,Boulder,CO,Chair",
    "141421,Zoë,Doe,XYZ,,zoe.doe@example.com,Lyon,FR,",
)
_BAD: Final = ("1.23E+09,Jane,Doe,XYZ,,,Uxbridge,UK,", "271828,Ana,Doe,XYZ,,,,UK,", "271828,Luc,Doe,XYZ,,,Lyon,FR,")


class _Camera:
    def __init__(self, browser: Browser, site: Site, folder: Path) -> None:
        self._browser, self._site, self._folder = browser, site, folder

    def visitor(self, user: str | None, **options: Any) -> Page:
        page = self._browser.new_context(base_url=self._site.address, **({"locale": "en-GB"} | options)).new_page()
        page.goto("/signin")
        if user is not None:
            page.fill("#name", user)
            page.fill("#password", PASSWORD)
            page.click("main button.main")
            page.wait_for_url(self._site.address + "/")
        return page

    def shoot(self, page: Page, name: str, path: str | None = None) -> None:
        if path is not None:
            page.goto(path)
        # As high as the page, so that nothing hangs over its middle.
        size = page.viewport_size or {"width": 1280, "height": 800}
        high = int(page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": size["width"], "height": max(high, size["height"])})
        page.screenshot(path=_OUTPUT / f"{name}.png")
        page.set_viewport_size(size)

    def upload(self, page: Page, *lines: str) -> None:
        file = self._folder / "list.csv"
        file.write_text("\n".join([columns.HEADER, *lines, ""]), encoding="utf-8")
        page.goto(f"{_ALICIA}/upload")
        page.set_input_files("#file", file)
        page.check("input[name=policy]")
        page.click("main button.main")
        page.wait_for_selector("h1")


def _call_in(site: Site, page: Page) -> None:
    """Alicia's weekly call: one that is over, and one that is on."""

    def admit(call_id: str, pin: str, *events: str) -> None:
        site.daemon.admits(site.token, call_id, pin, caller=f"+1555010{len(call_id)}")
        for event in events:
            site.daemon.tell(site.token, call_id, event)

    for call_id, pin in (("a", "004127"), ("ab", "271828"), ("abc", "314159")):
        admit(call_id, pin, "joined")
    page.wait_for_timeout(2000)
    for call_id in ("a", "ab", "abc"):
        site.daemon.tell(site.token, call_id, "left")
    page.goto("/rolls")
    while not page.locator("section:last-of-type tbody tr").count():
        page.wait_for_timeout(500)
        page.reload()
    for call_id, pin in (("b", "004127"), ("bc", "271828"), ("bcd", "602214"), ("bcde", "271828")):
        admit(call_id, pin, "joined")
    admit("bcdef", "314159", "joined", "left")
    for pin in ("000000", "000001"):
        site.daemon.accepts(site.token, pin)
    page.wait_for_timeout(1000)


def _shoot_rolls(camera: _Camera, site: Site) -> None:
    page = camera.visitor("alicia", **_DESKTOP)
    _call_in(site, page)
    camera.shoot(page, "rolls", "/rolls")
    over, live = (
        page.locator(f"section:{which}-of-type tbody a").first.get_attribute("href") for which in ("last", "first")
    )
    camera.shoot(page, "roll-over", over)
    page.goto(str(live))
    page.wait_for_selector("[data-state=on]:visible")
    camera.shoot(page, "roll-live")
    for name, user, look in (
        ("roll-live-phone", "alicia", _PHONE),
        ("roll-live-dark", "alicia", _DESKTOP | {"color_scheme": "dark"}),
        ("roll-live-japanese", "kenji", _DESKTOP),
        ("rolls-german", "sabine", _DESKTOP),
    ):
        page = camera.visitor(user, **look)
        page.goto("/rolls" if name == "rolls-german" else str(live))
        if name != "rolls-german":
            page.wait_for_selector("[data-state=on]:visible")
        camera.shoot(page, name)


def _shoot_all(camera: _Camera) -> None:
    camera.shoot(camera.visitor(None, **_DESKTOP), "signin")
    page = camera.visitor("alicia", **_DESKTOP)
    for name, path in (
        ("welcome", "/"),
        ("list", _ALICIA),
        ("entry", f"{_ALICIA}/entries/1/0"),
        ("upload", f"{_ALICIA}/upload"),
        ("conferences", "/conferences"),
        ("second-factor", "/account/second-factor"),
    ):
        camera.shoot(page, name, path)
    camera.upload(page, *_BAD)
    camera.shoot(page, "errors")
    camera.upload(page, *_GOOD)
    camera.shoot(page, "preview")
    page.click("text=Restore the zeros")
    page.click("form.confirm button.main")
    page.wait_for_selector(".live")
    camera.shoot(page, "uploaded")
    camera.shoot(page, "history", f"{_ALICIA}/history")
    camera.shoot(page, "difference", f"{_ALICIA}/history/2")
    camera.shoot(camera.visitor("alicia", **_DESKTOP, color_scheme="dark"), "list-dark", _ALICIA)
    page = camera.visitor("alicia", **_PHONE)
    camera.shoot(page, "list-phone", _ALICIA)
    camera.shoot(page, "upload-phone", f"{_ALICIA}/upload")
    page = camera.visitor("sabine", **_DESKTOP)
    camera.shoot(page, "welcome-german", "/")
    camera.shoot(page, "company-german", "/companies/globaltest")
    camera.shoot(page, "audit-german", "/audit")
    camera.shoot(camera.visitor("odile", **_DESKTOP), "upload-french", "/upload")
    camera.shoot(camera.visitor("kenji", **_DESKTOP), "account-japanese", "/account")
    page = camera.visitor("operator", **_DESKTOP)
    camera.shoot(page, "switches", "/switches")
    camera.shoot(page, "companies", "/companies")
    camera.shoot(page, "sessions", "/sessions")


def main() -> None:
    """Make them all anew."""
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
                camera = _Camera(browser, site, Path(folder))
                _shoot_all(camera)
                _shoot_rolls(camera, site)
                browser.close()
        finally:
            site.stop()


if __name__ == "__main__":
    main()
