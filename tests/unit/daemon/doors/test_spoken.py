"""What is said to callers."""

from typing import get_args

import msgspec
import pytest

from daemon.doors.dialogue import Prompt
from daemon.doors.spoken import LOCALES, is_recording, said
from loader.door_sections import AgiPrompts, HttapiPrompts, Language, SpokenPrompts
from loader.model import LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("prompt", Prompt)
def test_every_prompt_is_said_in_every_language(language: str, prompt: Prompt) -> None:
    text = said(prompt, language, SpokenPrompts())
    assert text[-1] in ".。"
    assert not is_recording(text)
    assert language == "en" or text != said(prompt, "en", SpokenPrompts())


def test_the_languages_are_those_of_rollcall() -> None:
    assert get_args(Language) == LANGUAGES == tuple(LOCALES)


def test_the_settings_may_say_something_else() -> None:
    own = SpokenPrompts(pin="Your number, please.", goodbye="https://example.com/bye.mp3")
    assert said(Prompt.PIN, "fr", own) == "Your number, please."
    assert is_recording(said(Prompt.GOODBYE, "fr", own))


@pytest.mark.parametrize("prompts", [AgiPrompts, HttapiPrompts, SpokenPrompts])
def test_every_prompt_can_be_set(prompts: type[msgspec.Struct]) -> None:
    assert set(prompts.__struct_fields__) == set(Prompt)
