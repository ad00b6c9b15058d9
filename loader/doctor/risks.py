"""Settings that are allowed, and that somebody should have meant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from loader.doctor.finding import Finding, Installation, ok, warning, wrong
from loader.door_sections import FastAgi
from loader.settings import Settings


async def ports(installation: Installation) -> AsyncIterator[Finding]:
    """Which ports are open to other machines, and unencrypted."""
    found = False
    for setting, host, encrypted in _asked(installation.settings):
        if not encrypted and not _is_here(host):
            found = True
            yield warning(
                "ports",
                f"{setting} is {host}: PINs and tokens pass the network unencrypted, and whoever reaches the port may try",
                "set 127.0.0.1 and put a proxy with TLS in front, or let only your switches reach it",
            )
    for setting, host in _operations(installation.settings):
        if not _is_here(host):
            found = True
            yield warning(
                "ports",
                f"{setting} is {host}: whoever reaches the port sees your metrics",
                "set 127.0.0.1, or let only your monitoring reach it",
            )
    for finding in _networks(installation.settings.doors.fastagi):
        found = True
        yield finding
    if not found:
        yield ok("ports", "nothing is open to other machines unencrypted")


async def web_site(installation: Installation) -> AsyncIterator[Finding]:
    """Whether what people do on the site can be overheard, and how they sign in."""
    admin = installation.settings.admin
    address = urlsplit(admin.address)
    found = False
    if address.scheme != "https" and not _is_here(address.hostname or ""):
        found = True
        yield warning(
            "web site",
            f"it is reached at {address.scheme}://{address.hostname}: passwords and lists pass the network unencrypted",
            "put a proxy with TLS in front, and set admin.url to an address with https",
        )
    if not admin.second_factor:
        found = True
        yield warning(
            "web site",
            "admin.second_factor is off: a password that is found out is enough to be an operator",
            "remove the setting; each is asked for a second factor at the next sign-in",
        )
    if not found:
        yield ok("web site", f"it is reached at {admin.address}")


async def mail(installation: Installation) -> AsyncIterator[Finding]:
    """Whether mail leaves, and who can read it."""
    mail = installation.settings.mail
    found = False
    if mail.show and not mail.host:
        found = True
        yield warning(
            "mail",
            "mail.show is on: links that set passwords stand in the log",
            "remove the setting: it is for a demo",
        )
    if mail.host and mail.tls == "none" and not _is_here(mail.host):
        found = True
        yield warning(
            "mail",
            f"mail.tls is none: PINs and links that set passwords pass the network to {mail.host} unencrypted",
            "set starttls or tls",
        )
    if not found:
        yield ok("mail", f"it goes to {mail.host}" if mail.host else f"it is written to files in {mail.outbox}")


async def webhooks(installation: Installation) -> AsyncIterator[Finding]:
    """Whether companies reach what only you should reach."""
    if installation.settings.roll.webhook_private:
        yield warning(
            "webhooks",
            "roll.webhook_private is on: companies may have events sent to private networks and to this machine",
            "remove the setting, unless all companies are your own",
        )
    else:
        yield ok("webhooks", "private networks and this machine are not called")


def _asked(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Where switches ask: the setting, its host, and whether it is encrypted."""
    yield "daemon.host", settings.daemon.host, _has_certificate(settings.daemon)
    for name in settings.doors.__struct_fields__:
        door = getattr(settings.doors, name)
        if door.enabled:
            yield f"doors.{name}.host", door.host, _has_certificate(door)


def _operations(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "daemon.ops_host", settings.daemon.ops_host
    yield "admin.ops_host", settings.admin.ops_host


def _networks(door: FastAgi) -> Iterator[Finding]:
    setting = "doors.fastagi.allow"
    for network in door.allow.split() if door.enabled else ():
        try:
            everybody = not ip_network(network, strict=False).prefixlen
        except ValueError:
            yield wrong("ports", f"{setting}: {network} is no network", "correct it: the daemon does not start with it")
            continue
        if everybody:
            yield warning(
                "ports",
                f"{setting}: {network} is everybody: whoever reaches the port may try PINs",
                "name the networks of your switches",
            )


def _has_certificate(section: msgspec.Struct) -> bool:
    tls = getattr(section, "tls", None)
    return bool(getattr(tls, "certificate", ""))


def _is_here(host: str) -> bool:
    """Whether only this machine reaches it. Names are not looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
