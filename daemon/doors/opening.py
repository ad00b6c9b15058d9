"""The front doors beside HTTP that the settings open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import structlog

from daemon.doors import fastagi, httapi, jambonz, radius, twiml, voicexml
from daemon.doors.surroundings import Surroundings
from loader.door_sections import Doors

log = structlog.get_logger(__name__)

OpenDoor: TypeAlias = AbstractAsyncContextManager[int]
"""A door that is open, and its port; at the end it finishes what is under way."""


def enabled(settings: Doors, surroundings: Surroundings) -> Iterator[tuple[str, OpenDoor]]:
    """The doors that the settings open, by their names in metrics and settings."""
    if settings.fastagi.enabled:
        yield fastagi.DOOR, fastagi.serving(settings.fastagi, surroundings)
    if settings.httapi.enabled:
        yield httapi.DOOR, httapi.serving(settings.httapi, surroundings)
    if settings.twiml.enabled:
        yield twiml.DOOR, twiml.serving(settings.twiml, surroundings)
    if settings.jambonz.enabled:
        yield jambonz.DOOR, jambonz.serving(settings.jambonz, surroundings)
    if settings.voicexml.enabled:
        yield voicexml.DOOR, voicexml.serving(settings.voicexml, surroundings)
    if settings.radius.enabled:
        yield radius.DOOR, radius.serving(settings.radius, surroundings)


@asynccontextmanager
async def opened(doors: Iterable[tuple[str, OpenDoor]]) -> AsyncGenerator[None]:
    """Open them all; at the end shut them at the same time, so that they drain together. Raises PortError."""
    stacks: list[AsyncExitStack] = []
    try:
        for name, door in doors:
            stack = AsyncExitStack()
            port = await stack.enter_async_context(door)
            stacks.append(stack)
            log.info("door_opened", door=name, port=port)
        yield
    finally:
        await asyncio.gather(*(stack.aclose() for stack in stacks))
