"""Keys: who may take part in a run's gossip, and who may read it.

Owns the pair of CURVE keys that all learners of a run share, the file that it is kept in, and when
gossip is encrypted. Must not know of sockets.

One pair for a run, and not one for each learner: whoever takes part in a run knows its weights, so
members have nothing to hide from each other, and a file that is copied to all hosts is all there is
to do. Each end proves that it has the secret key, and encrypts with keys of that connection alone
(CurveZMQ, rfc.zeromq.org/spec/26).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import xxhash
import zmq

from dualrt.core.errors import UsageError

Curve: TypeAlias = Literal["auto", "on", "off"]
"""Whether gossip is encrypted; auto: between hosts, and wherever keys are given."""

KEYS = "DUALRT_KEYS"
"""Environment variable that names the file with the run's keys."""

VERSION = 1
"""Of the file."""

MAKE_ONE = "Make one with `dualrt keys FILE`, and copy it to all hosts"


@dataclass(frozen=True, slots=True)
class Keys:
    """A pair of CURVE keys, each 40 characters of Z85."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def make(cls) -> Keys:
        """A new pair, from the system's source of randomness."""
        return cls(*zmq.curve_keypair())

    @classmethod
    def read(cls, path: Path) -> Keys:
        """The pair in a file; raises UsageError for one that cannot be read, or that others can."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}. {MAKE_ONE}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no text. {MAKE_ONE}") from error
        if mode & 0o077:
            raise UsageError(
                f"{path}: its mode is {mode:04o}, so others on this host can read the secret key. "
                f"Run `chmod 600 {path}`"
            )
        return cls._parsed(text, str(path))

    @classmethod
    def _parsed(cls, text: str, source: str) -> Keys:
        try:
            found = json.loads(text)
            keys = cls(found["public"].encode("ascii"), found["secret"].encode("ascii"))
            whole = found["dualrt_keys"] == VERSION and zmq.curve_public(keys.secret) == keys.public
        except (ValueError, KeyError, TypeError, AttributeError, zmq.ZMQError):
            whole = False
        if not whole:
            raise UsageError(
                f"{source} is no key file of version {VERSION}, or was cut short. {MAKE_ONE}"
            )
        return keys

    def text(self) -> str:
        """What the file says."""
        found = {
            "dualrt_keys": VERSION,
            "public": self.public.decode("ascii"),
            "secret": self.secret.decode("ascii"),
        }
        return json.dumps(found, indent=2) + "\n"

    def write(self, path: Path, *, force: bool = False) -> None:
        """Keep the pair in a file that only its owner can read.

        Raises UsageError if the file is there already, unless by `force`, or cannot be written.
        """
        made = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.text())
                file.flush()
                os.fsync(file.fileno())
            if force:
                made.rename(path)
            else:
                os.link(made, path)
        except FileExistsError as error:
            raise UsageError(
                f"{path} already exists, and a run may need it. Choose another name, or use --force"
            ) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            made.unlink(missing_ok=True)

    @property
    def fingerprint(self) -> str:
        """What may be shown, to tell one pair from another."""
        return xxhash.xxh64(self.public).hexdigest()[:8]


def is_loopback(interface: str) -> bool:
    """Whether only processes of this host reach an address or interface."""
    return interface.startswith("127.") or interface in {"lo", "localhost"}


def wanted(curve: Curve, file: str, interface: str, environment: Mapping[str, str]) -> bool:
    """Whether gossip is to be encrypted."""
    if curve == "auto":
        return bool(file or environment.get(KEYS)) or not is_loopback(interface)
    return curve == "on"


def chosen(
    curve: Curve, file: str, interface: str, environment: Mapping[str, str] = os.environ
) -> Keys | None:
    """The keys of the run; None where gossip is not encrypted.

    `file` is the one that the scenario names; the environment's `KEYS` is taken if it names none.
    Raises UsageError where keys are needed and there are none, or they cannot be read.
    """
    if not wanted(curve, file, interface, environment):
        return None
    path = file or environment.get(KEYS, "")
    if not path:
        why = "curve is on" if curve == "on" else f"interface {interface!r} is not loopback"
        raise UsageError(
            f"{why}, and no keys are given. {MAKE_ONE}; name it in real.keys or {KEYS}. "
            "Or trust everybody on that network: curve = 'off'"
        )
    return Keys.read(Path(path))
