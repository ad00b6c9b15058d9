"""What is said to callers where a voice reads texts: by language and prompt, unless the settings say something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from daemon.doors.dialogue import Prompt
from loader.door_sections import SpokenPrompts

LOCALES: Final[Mapping[str, str]] = {"en": "en-US", "fr": "fr-FR", "de": "de-DE", "ja": "ja-JP"}
"""The languages that are spoken, as voices are asked for: BCP 47."""

_TEXTS: Final[Mapping[str, Mapping[Prompt, str]]] = {
    "en": {
        Prompt.PASSCODE: "Please enter the passcode of your conference, followed by the pound key.",
        Prompt.PIN: "Please enter your personal PIN, followed by the pound key.",
        Prompt.WRONG_PASSCODE: "There is no conference with this passcode.",
        Prompt.WRONG_PIN: "This PIN is not valid.",
        Prompt.LOCKED: "There were too many wrong tries. Please call again later.",
        Prompt.UNAVAILABLE: "We are sorry: your PIN cannot be checked at the moment. Please call again later.",
        Prompt.GOODBYE: "Goodbye.",
    },
    "fr": {
        Prompt.PASSCODE: "Veuillez saisir le code de votre conférence, puis appuyer sur dièse.",
        Prompt.PIN: "Veuillez saisir votre code PIN personnel, puis appuyer sur dièse.",
        Prompt.WRONG_PASSCODE: "Aucune conférence ne correspond à ce code.",
        Prompt.WRONG_PIN: "Ce code PIN n’est pas valable.",
        Prompt.LOCKED: "Il y a eu trop d’essais erronés. Veuillez rappeler plus tard.",
        Prompt.UNAVAILABLE: "Nous sommes désolés : votre code PIN ne peut pas être vérifié pour le moment. "
        "Veuillez rappeler plus tard.",
        Prompt.GOODBYE: "Au revoir.",
    },
    "de": {
        Prompt.PASSCODE: "Bitte geben Sie den Zugangscode Ihrer Konferenz ein und drücken Sie die Rautetaste.",
        Prompt.PIN: "Bitte geben Sie Ihre persönliche PIN ein und drücken Sie die Rautetaste.",
        Prompt.WRONG_PASSCODE: "Zu diesem Zugangscode gibt es keine Konferenz.",
        Prompt.WRONG_PIN: "Diese PIN ist nicht gültig.",
        Prompt.LOCKED: "Es gab zu viele falsche Versuche. Bitte rufen Sie später noch einmal an.",
        Prompt.UNAVAILABLE: "Es tut uns leid: Ihre PIN kann im Augenblick nicht geprüft werden. "
        "Bitte rufen Sie später noch einmal an.",
        Prompt.GOODBYE: "Auf Wiederhören.",
    },
    "ja": {
        Prompt.PASSCODE: "会議のパスコードを入力し、シャープを押してください。",
        Prompt.PIN: "個人のPINを入力し、シャープを押してください。",
        Prompt.WRONG_PASSCODE: "このパスコードの会議はありません。",
        Prompt.WRONG_PIN: "このPINは無効です。",
        Prompt.LOCKED: "入力の誤りが続いたため、受け付けられません。しばらくしてから、おかけ直しください。",
        Prompt.UNAVAILABLE: "申し訳ございません。ただいまPINを確認できません。しばらくしてから、おかけ直しください。",
        Prompt.GOODBYE: "失礼いたします。",
    },
}


def said(prompt: Prompt, language: str, own: SpokenPrompts) -> str:
    """The text of a prompt, or the https address of its recording (see :func:`is_recording`)."""
    return getattr(own, prompt.value) or _TEXTS[language][prompt]


def is_recording(text: str) -> bool:
    """Whether this is to be played rather than read."""
    return text.startswith(("https://", "http://"))
