"""Who has not the run's keys is heard by nobody, and reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
import zmq

from dualrt.core.effects import Packet
from dualrt.core.errors import PeerLostError, StalledError, UsageError
from dualrt.real.gossip import Gossip
from dualrt.real.keys import Curve, Keys, chosen, is_loopback
from dualrt.real.wire import CHUNK_BYTES, Hello, encode
from dualrt.real.word import Word
from tests.support import commands

PATIENCE_S = 20.0
REFUSED_S = 1.0
"""How long a client waits that is not to be answered; on loopback an answer takes milliseconds."""


@contextmanager
def learners(*keys: Keys | Word | None, timeout_s: float = PATIENCE_S) -> Iterator[list[Gossip]]:
    """One for each of the keys, not connected; without shared memory, so that all is encrypted."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Gossip(
                    rank,
                    run_id="run",
                    timeout_s=timeout_s,
                    max_body_bytes=8 * CHUNK_BYTES,
                    shares_memory=False,
                    keys=pair,
                )
            )
            for rank, pair in enumerate(keys)
        ]


def acquaint(members: list[Gossip]) -> None:
    addresses = {one.rank: one.address for one in members}
    for one in members:
        one.connect(addresses)
    for one in members:
        one.send((one.rank + 1) % len(members), "t", Packet(note=one.rank))


def test_learners_with_the_keys_exchange_bodies_of_many_full_chunks() -> None:
    keys, body = Keys.make(), torch.rand(CHUNK_BYTES)
    with learners(keys, keys) as (a, b):
        acquaint([a, b])
        assert b.recv("t").packet.note == 0
        a.send(1, "body", Packet(body=body))
        assert torch.equal(b.recv("body").packet.body, body)
        assert b.counters["refused"] == 0


Client = Callable[[zmq.Socket[bytes], Keys], None]


def plain(client: zmq.Socket[bytes], _: Keys) -> None:
    """Speaks no CURVE at all."""


def with_keys_of_its_own(client: zmq.Socket[bytes], _: Keys) -> None:
    own = Keys.make()
    client.curve_serverkey = client.curve_publickey = own.public
    client.curve_secretkey = own.secret


def with_the_public_key_alone(client: zmq.Socket[bytes], keys: Keys) -> None:
    """Knows whom it talks to, but is nobody there."""
    own = Keys.make()
    client.curve_serverkey = keys.public
    client.curve_publickey, client.curve_secretkey = own.public, own.secret


def greet(client: zmq.Socket[bytes]) -> None:
    """Say hello; who was refused already has nobody to say it to, and would wait for ever."""
    with suppress(zmq.Again):
        client.send(encode(Hello("run", 0, 2**62, 1)), zmq.NOBLOCK)


@pytest.mark.parametrize("disguised", [plain, with_keys_of_its_own, with_the_public_key_alone])
def test_who_has_them_not_gets_nothing(disguised: Client) -> None:
    keys = Keys.make()
    with learners(keys, keys) as (a, b), zmq.Context() as context:
        acquaint([a, b])
        assert b.recv("t").packet.note == 0
        with context.socket(zmq.DEALER) as client:
            client.linger = 0
            disguised(client, keys)
            client.connect(b.address)
            greet(client)
            assert not client.poll(round(1000 * REFUSED_S))
        # It was heard by nobody: the true learner 0 is no older than it was.
        a.send(1, "t", Packet(note="after"))
        assert b.recv("t").packet.note == "after"
        assert b.counters["stale"] == 0
        if disguised is with_the_public_key_alone:
            assert commands.await_(lambda: b.counters["refused"] > 0)


@pytest.mark.parametrize(
    "keys", [None, Word.make(), Keys.make()], ids=["without either", "with a word", "with keys"]
)
def test_parts_of_a_frame_are_taken_from_strangers_only_where_there_is_no_word(
    keys: Keys | Word | None,
) -> None:
    """ZeroMQ collects them, however many, before a learner sees the frame (docs/security.md)."""
    with (
        learners(keys) as (a,),
        zmq.Context() as context,
        context.socket(zmq.DEALER) as client,
    ):
        client.linger, client.immediate = 0, 1
        client.sndtimeo = round(1000 * (PATIENCE_S if keys is None else REFUSED_S))
        client.connect(a.address)
        if keys is None:
            client.send(b"a part", zmq.SNDMORE)
        else:
            with pytest.raises(zmq.Again):
                client.send(b"a part", zmq.SNDMORE)


def test_learners_with_the_word_exchange_bodies_and_hear_nobody_else() -> None:
    said, body = Word.make(), torch.rand(CHUNK_BYTES)
    with learners(said, said) as (a, b), zmq.Context() as context:
        acquaint([a, b])
        a.send(1, "body", Packet(body=body))
        assert torch.equal(b.recv("body").packet.body, body)
        with context.socket(zmq.DEALER) as client:
            client.linger = 0
            client.plain_username, client.plain_password = b"dualrt", Word.make().text
            client.connect(b.address)
            greet(client)
            assert not client.poll(round(1000 * REFUSED_S))
        assert commands.await_(lambda: b.counters["refused"] > 0)


def test_with_the_keys_the_same_client_is_answered() -> None:
    keys = Keys.make()
    with learners(keys, keys) as (a, b), zmq.Context() as context:
        acquaint([a, b])
        with context.socket(zmq.DEALER) as client:
            client.linger = 0
            client.curve_serverkey = client.curve_publickey = keys.public
            client.curve_secretkey = keys.secret
            client.connect(b.address)
            client.send(encode(Hello("run", 0, 2**62, 1)))
            assert client.poll(round(1000 * PATIENCE_S))


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (Keys.make(), None),
        (Keys.make(), Keys.make()),
        (Word.make(), None),
        (Word.make(), Word.make()),
        (Word.make(), Keys.make()),
    ],
    ids=["none", "other keys", "no word", "another word", "keys and a word"],
)
def test_learners_with_different_keys_do_not_find_each_other(
    mine: Keys | Word, other: Keys | Word | None
) -> None:
    with learners(mine, other, timeout_s=REFUSED_S) as (a, b):
        acquaint([b, a])
        with pytest.raises((StalledError, PeerLostError)):
            a.recv("t", 1, REFUSED_S)


class TestTheFile:
    def test_is_its_owner_s_and_comes_back(self, tmp_path: Path) -> None:
        made, path = Keys.make(), tmp_path / "run.key"
        made.write(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert Keys.read(path) == made
        assert list(tmp_path.iterdir()) == [path]

    def test_is_not_overwritten_unless_by_force(self, tmp_path: Path) -> None:
        first, path = Keys.make(), tmp_path / "run.key"
        first.write(path)
        with pytest.raises(UsageError, match=r"already exists.*--force"):
            Keys.make().write(path)
        assert Keys.read(path) == first
        second = Keys.make()
        second.write(path, force=True)
        assert Keys.read(path) == second
        assert list(tmp_path.iterdir()) == [path]

    def test_that_others_can_read_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "run.key"
        Keys.make().write(path)
        path.chmod(0o640)
        with pytest.raises(UsageError, match=r"0640.*chmod 600"):
            Keys.read(path)

    @pytest.mark.parametrize("kept", [0.0, 0.3, 0.95])
    def test_that_was_cut_short_is_refused(self, tmp_path: Path, kept: float) -> None:
        path = tmp_path / "run.key"
        Keys.make().write(path)
        text = path.read_text()
        path.write_text(text[: int(kept * len(text))])
        with pytest.raises(UsageError, match="no key file of version 1"):
            Keys.read(path)

    def test_whose_halves_are_of_two_pairs_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "run.key"
        Keys(Keys.make().public, Keys.make().secret).write(path)
        with pytest.raises(UsageError, match="no key file"):
            Keys.read(path)

    def test_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"absent\.key.*dualrt keys"):
            Keys.read(tmp_path / "absent.key")

    def test_shows_no_secret(self) -> None:
        made = Keys.make()
        assert made.secret.decode() not in repr(made)
        assert made.secret.decode() not in made.fingerprint


class TestWhoNeedsThem:
    @pytest.mark.parametrize("interface", ["127.0.0.1", "127.1.2.3", "lo", "localhost"])
    def test_not_learners_on_loopback(self, interface: str) -> None:
        assert is_loopback(interface)
        assert chosen("auto", "", interface, {}) is None

    @pytest.mark.parametrize(("curve", "interface"), [("auto", "eth0"), ("on", "127.0.0.1")])
    def test_everybody_else_and_who_asks(self, curve: Curve, interface: str) -> None:
        with pytest.raises(UsageError, match=r"no keys are given.*dualrt keys.*curve = 'off'"):
            chosen(curve, "", interface, {})

    def test_nobody_who_says_so(self) -> None:
        assert chosen("off", "", "eth0", {"DUALRT_KEYS": "ignored"}) is None

    def test_those_of_the_scenario_come_before_those_of_the_environment(
        self, tmp_path: Path
    ) -> None:
        one, other = Keys.make(), Keys.make()
        one.write(tmp_path / "one")
        other.write(tmp_path / "other")
        environment = {"DUALRT_KEYS": str(tmp_path / "other")}
        assert chosen("auto", str(tmp_path / "one"), "127.0.0.1", environment) == one
        assert chosen("auto", "", "127.0.0.1", environment) == other
