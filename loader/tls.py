"""TLS of a port: certificate, key and clients' authorities from files that may change at any time.

TLS 1.2 and 1.3, and of 1.2 only what has forward secrecy and authenticates what it encrypts (RFC 9325, sections 3.1.1
and 4.2).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, Protocol

import structlog
from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge

from loader.errors import SettingsError
from loader.sections import Tls

log = structlog.get_logger(__name__)

_PROTOCOLS: Final = ["http/1.1"]
"""What is spoken over it, as ALPN names it (RFC 7301)."""
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_LOOKED_AT_EVERY: Final = 1.0
"""Seconds between two looks at the files."""
_CHECKED_FOR: Final = 60.0
"""Seconds for which a client's certificate may count as checked: OpenSSL keeps sessions of TLS 1.2 for two hours, and
Python cannot forbid it, but they belong to their context."""


class Labelled(Protocol):
    """A counter with labels."""

    def labels(self, *labels: str) -> Countable: ...


class Countable(Protocol):
    """One number of it."""

    def inc(self) -> None:
        """Count one more."""


class TlsMetrics:
    """What is counted of the TLS of a service's ports. `prefix` is that of its metrics.

    `refused` counts handshakes, where it is not to be a counter of this process alone.
    """

    def __init__(self, registry: CollectorRegistry | None, prefix: str, refused: Labelled | None = None) -> None:
        self._expires = Gauge(
            f"{prefix}_certificate_expires_timestamp_seconds",
            "When the certificate that a port has in force expires, in seconds since 1970.",
            ["port"],
            registry=registry,
        )
        self._failures = Counter(
            f"{prefix}_certificate_failures",
            "Looks at changed certificates, keys or authorities that could not be put in force.",
            ["port"],
            registry=registry,
        )
        self._refused = refused or Counter(*self.handshakes_refused(prefix), ["port", "why"], registry=registry)

    @staticmethod
    def handshakes_refused(prefix: str) -> tuple[str, str]:
        """The name of the counter of handshakes, and what it is."""
        return f"{prefix}_handshakes_refused", "TLS handshakes that came to nothing, by why."

    def in_force(self, port: str, expires: float) -> None:
        """A port has taken a certificate that expires then."""
        self._expires.labels(port).set(expires)
        self._failures.labels(port)

    def failed(self, port: str) -> None:
        """What stands in a port's files now cannot be put in force."""
        self._failures.labels(port).inc()

    def refused(self, port: str, why: str) -> None:
        """A handshake came to nothing."""
        self._refused.labels(port, why).inc()


class _InForce(NamedTuple):
    context: ssl.SSLContext
    expires: float
    read_at: float
    """As `time.monotonic` tells it."""
    files: object
    """What the files were as they were read, as their system tells it."""


class TlsPort:
    """The TLS of one port. `name` is that of its section in the settings. Raises SettingsError if the files are wrong.

    A change of the files is taken as a whole: a new context is made beside the one in force, and replaces it once
    certificate and key belong together. Connections that are open live on with what they began with.
    """

    def __init__(self, name: str, files: Tls, metrics: TlsMetrics) -> None:
        self._name = name
        self._files = files
        self._metrics = metrics
        self._in_force = self._read()
        self._problem: str | None = None
        self._reading = asyncio.Lock()
        metrics.in_force(name, self._in_force.expires)

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection begins with."""
        return self._in_force.context

    def refused(self, error: OSError) -> None:
        """Count a handshake that came to nothing."""
        self._metrics.refused(self._name, why_refused(error))

    async def follow(self) -> None:
        """Take what the files become, for ever."""
        while True:
            await asyncio.sleep(_LOOKED_AT_EVERY)
            is_old = self._files.client_ca and time.monotonic() - self._in_force.read_at > _CHECKED_FOR
            if is_old or self._problem is not None or self._seen() != self._in_force.files:
                await self.read_again()

    async def read_again(self) -> None:
        """Put in force what stands in the files now; if it is wrong all stays as it was, and that is told."""
        async with self._reading:
            try:
                # Not on the loop: to check a key takes milliseconds.
                new = await asyncio.to_thread(self._read)
            except SettingsError as error:
                self._not_taken(str(error))
                return
            except Exception as error:  # noqa: BLE001 - whatever stands there, what is in force stays, and the look goes on
                self._not_taken(f"{self._name}.tls: {type(error).__name__}")
                return
            self._problem = None
            old, self._in_force = self._in_force, new
            self._metrics.in_force(self._name, new.expires)
            if old.files != new.files:
                log.info("certificate_read", port=self._name, expires=_day(new.expires))

    def _not_taken(self, problem: str) -> None:
        self._metrics.failed(self._name)
        if self._problem != problem:
            self._problem = problem
            log.error("certificate_refused", port=self._name, problem=problem)

    def _seen(self) -> object:
        return [_status(path) for path in (self._files.certificate, self._files.key, self._files.client_ca) if path]

    def _read(self) -> _InForce:
        seen = self._seen()
        certificate = self._content("certificate")
        self._content("key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(_PROTOCOLS)
        try:
            expires = x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc.timestamp()
        except ValueError:
            self._refuse("certificate", "holds no certificate (PEM)")
        try:
            context.load_cert_chain(self._files.certificate, self._files.key, _no_password)
        except _Encrypted:
            self._refuse("key", "is encrypted; nobody is there to type its password")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                self._refuse("key", f"is not the key of {self._files.certificate}")
            self._refuse("key", f"holds no key (PEM), or one that cannot be used with its certificate: {_told(error)}")
        except OSError as error:
            # Gone again since it was read.
            self._refuse("key", f"cannot be read: {error.strerror}")
        if self._files.client_ca:
            self._require_certificates(context)
        return _InForce(context, expires, time.monotonic(), seen)

    def _require_certificates(self, context: ssl.SSLContext) -> None:
        self._content("client_ca")
        try:
            context.load_verify_locations(self._files.client_ca)
        except ssl.SSLError:
            self._refuse("client_ca", "holds no certificates (PEM)")
        context.verify_mode = ssl.CERT_REQUIRED
        # Who comes back with a ticket is not asked for his certificate, which may have expired meanwhile.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0

    def _content(self, field: str) -> bytes:
        path = Path(getattr(self._files, field))
        try:
            if field == "key" and path.stat().st_mode & 0o007:
                self._refuse(field, "can be read by everybody; make it yours alone with `chmod 600`")
            return path.read_bytes()
        except OSError as error:
            self._refuse(field, f"cannot be read: {error.strerror}")

    def _refuse(self, field: str, problem: str) -> NoReturn:
        raise SettingsError(f"{self._name}.tls.{field}: {getattr(self._files, field)} {problem}") from None


def tls_port(name: str, files: Tls, metrics: TlsMetrics) -> TlsPort | None:
    """The TLS of a port; None if its settings ask for none. Raises SettingsError if the settings or files are wrong."""
    if files == Tls():
        return None
    missing = [field for field in ("certificate", "key") if not getattr(files, field)]
    if missing:
        raise SettingsError(*(f"{name}.tls.{field}: is missing, and the others are set" for field in missing))
    return TlsPort(name, files, metrics)


def why_refused(error: OSError) -> str:
    """Why a handshake came to nothing, in one of a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or not isinstance(error, ssl.SSLError):
        # asyncio ends what takes too long by itself, as an abort.
        return "timeout" if isinstance(error, ConnectionAbortedError | TimeoutError) else "hung_up"
    reason = error.reason or ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no_certificate"
    return "refused_by_client" if "ALERT" in reason else "protocol"


class _Encrypted(Exception):
    """A key has a password."""


def _no_password() -> str:
    raise _Encrypted


def _status(path: str) -> tuple[int, int, int, int] | None:
    try:
        # Of what a link leads to: certbot renews by another link.
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _told(error: ssl.SSLError) -> str:
    return (error.reason or "not understood").replace("_", " ").lower()


def _day(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(timestamp))
