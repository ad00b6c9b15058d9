"""What can be set of the front doors beside HTTP: one class a door. Each is shut unless it is enabled."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from loader.sections import Port, Section, Text, Tls

Limit = Annotated[float, Meta(gt=0, le=3600)]
"""Seconds."""

Sound = Annotated[str, Meta(max_length=200)]
"""A sound file's name."""


class AgiPrompts(Section, frozen=True):
    """Sound files of Asterisk, without their endings; Asterisk takes them in the channel's language. Empty: silence."""

    passcode: Sound = "conf-getconfno"
    pin: Sound = "conf-getpin"
    wrong_passcode: Sound = "conf-invalid"
    wrong_pin: Sound = "conf-invalidpin"
    locked: Sound = ""
    unavailable: Sound = "vm-nobodyavail"
    goodbye: Sound = "vm-goodbye"


class FastAgi(Section, frozen=True):
    """Asterisk's FastAGI."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 4573
    allow: Text = "127.0.0.0/8 ::1"
    """The networks that are answered, parted by spaces: the protocol has no passwords."""
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 2000
    reply_timeout: Limit = 5.0
    """Seconds in which Asterisk must answer a command that needs no caller."""
    digit_timeout: Limit = 5.0
    """Seconds in which a caller must key the next digit."""
    deadline: Limit = 180.0
    """Seconds after which a dialogue is over, whatever it has come to."""
    prompts: AgiPrompts = AgiPrompts()


class HttapiPrompts(Section, frozen=True):
    """Sound files of FreeSWITCH, below its `sound_prefix`. Empty: silence."""

    passcode: str = "conference/conf-enter_conf_number.wav"
    pin: str = "conference/conf-enter_conf_pin.wav"
    wrong_passcode: str = "conference/conf-bad-pin.wav"
    wrong_pin: str = "conference/conf-bad-pin.wav"
    locked: str = "voicemail/vm-abort.wav"
    unavailable: str = "ivr/ivr-im_sorry.wav"
    goodbye: str = "voicemail/vm-goodbye.wav"


class Httapi(Section, frozen=True):
    """FreeSWITCH's mod_httapi."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 8472
    input_timeout: Limit = 20.0
    """Seconds after a prompt in which a caller must have keyed everything."""
    digit_timeout: Limit = 3.0
    """Seconds without a digit that stand for a `#`."""
    tls: Tls = Tls()
    prompts: HttapiPrompts = HttapiPrompts()


class SpokenPrompts(Section, frozen=True):
    """What is said to callers: a text, or the https address of a recording. Empty: the text that Rollcall has."""

    passcode: str = ""
    pin: str = ""
    wrong_passcode: str = ""
    wrong_pin: str = ""
    locked: str = ""
    unavailable: str = ""
    goodbye: str = ""


Language = Literal["en", "fr", "de", "ja"]


class Twiml(Section, frozen=True):
    """Twilio, and what speaks TwiML."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 8473
    url: str = ""
    """How the cloud reaches this door, such as `https://rollcall.example.com/twiml`: signatures are over it."""
    auth_token_file: str = ""
    """The file with the account's auth token, which signs what the cloud sends."""
    digit_timeout: Annotated[int, Meta(ge=1, le=120)] = 5
    """Whole seconds in which a caller must key the first digit after a prompt, and each next one."""
    language: Language = "en"
    tls: Tls = Tls()
    prompts: SpokenPrompts = SpokenPrompts()


class Jambonz(Section, frozen=True):
    """jambonz."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 8474
    url: str = ""
    """How jambonz reaches this door, such as `https://rollcall.example.com/jambonz`."""
    secret_file: str = ""
    """The file with the webhook secret, which signs what jambonz sends."""
    input_timeout: Limit = 10.0
    """Seconds in which a caller must key the first digit."""
    digit_timeout: Limit = 5.0
    """Seconds in which a caller must key the next digit."""
    language: Language = "en"
    tls: Tls = Tls()
    prompts: SpokenPrompts = SpokenPrompts()


class VoiceXml(Section, frozen=True):
    """VoiceXML 2.1 platforms."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 8475
    transfer_to: str = ""
    """Where the dialogue sends who was accepted, such as `sip:{conference}@bridge.example.com`; empty: it exits."""
    input_timeout: Limit = 10.0
    """Seconds in which a caller must key the first digit."""
    digit_timeout: Limit = 5.0
    """Seconds in which a caller must key the next digit."""
    fetch_timeout: Limit = 5.0
    """Seconds in which a platform must have an answer."""
    language: Language = "en"
    tls: Tls = Tls()
    prompts: SpokenPrompts = SpokenPrompts()


class Radius(Section, frozen=True):
    """RADIUS, authentication and accounting."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Port = 1812
    accounting_port: Port = 1813
    clients_file: str = ""
    """The file with the clients: a line each, with an address or a network, a space, and the shared secret."""


class Doors(Section, frozen=True):
    """One section a front door beside HTTP."""

    fastagi: FastAgi = FastAgi()
    httapi: Httapi = Httapi()
    twiml: Twiml = Twiml()
    jambonz: Jambonz = Jambonz()
    voicexml: VoiceXml = VoiceXml()
    radius: Radius = Radius()
