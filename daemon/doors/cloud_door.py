"""What the doors of clouds have in common: two addresses, one where calls ask and one where it is told how they went."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from time import perf_counter
from typing import ClassVar, Final

from daemon.doors.cloud_address import CloudAddress
from daemon.doors.http_reply import NO_CONTENT, Get, Headers, Peer, Post, Reply, problem_reply
from daemon.doors.problem import Problem
from daemon.doors.webhook_dialogues import Rendering, Told, WebhookDialogues
from daemon.verify import Verification
from loader.door_sections import SpokenPrompts
from loader.index import MAX_TOLD
from loader.model import Conference


class CloudDoor(ABC):
    """Answers what a cloud has signed. A door of its kind reads, checks the signature, and renders."""

    call_id_name: ClassVar[str]
    """What the cloud calls the ID of a call."""

    def __init__(self, address: CloudAddress, prompts: SpokenPrompts, dialogues: WebhookDialogues) -> None:
        self._address = address
        self._status = address.status()
        self._prompts = prompts
        self._dialogues = dialogues
        self.posts: Final[Mapping[str, Post]] = {
            self._address.path: Post(self._asked, self.refusal),
            self._status.path: Post(self._reported, self.refusal),
        }

    def gets(self, path: str) -> Get | None:  # noqa: ARG002 - whatever it is
        """Nothing: what a caller keys must not stand in an address."""
        return None

    def refusal(self, problem: Problem) -> Reply:
        """A problem as it is: a cloud does what it was told to do should it get no answer."""
        return problem_reply(problem)

    @abstractmethod
    def read(self, address: CloudAddress, target: str, headers: Headers, body: bytes) -> Told:
        """What is told at this address. Raises Problem if it is not signed, before it looks at anything else."""

    @abstractmethod
    def render(self, rendering: Rendering) -> Reply:
        """A step of the dialogue as the cloud is told it."""

    def _asked(self, target: str, headers: Headers, body: bytes, _peer: Peer) -> Reply:
        begun = perf_counter()
        told = self._checked(self.read(self._address, target, headers, body))
        if told.event is not None:
            # Nothing is verified for a caller who has hung up.
            return self._dialogues.note(told)
        return self._dialogues.answer(target, told, begun, self.render)

    def _reported(self, target: str, headers: Headers, body: bytes, _peer: Peer) -> Reply:
        told = self.read(self._status, target, headers, body)
        return NO_CONTENT if told.event is None else self._dialogues.note(self._checked(told))

    def _checked(self, told: Told) -> Told:
        if 0 < len(told.call_id) <= MAX_TOLD:
            return told
        wrong = f"has more than {MAX_TOLD} characters" if told.call_id else "is missing"
        raise Problem(400, "The request tells of no call.", errors={self.call_id_name: wrong})


def admitted(verification: Verification) -> Conference:
    """Where this verification lets its caller in. Raises ValueError unless it is accepted: whatever broke, he stays out."""
    conference = verification.decision.conference
    if not verification.decision.accepted or conference is None:
        raise ValueError("nobody is let in without an accepted decision")
    return conference
