"""What the launcher says of hosts, and that all processes agree."""

from __future__ import annotations

import re
import threading

import pytest
from torch.distributed import TCPStore

from dualrt.core.errors import StalledError, UsageError
from dualrt.real.rendezvous import Launch, Rendezvous


def launched(sizes: tuple[int, ...], *, told: bool = True) -> list[Launch]:
    """What torchrun tells the processes of nodes of these sizes."""
    learners = sum(sizes)
    places = [(here, size) for size in sizes for here in range(size)]
    nodes = len(sizes) if told else None
    return [Launch(rank, learners, *place, nodes) for rank, place in enumerate(places)]


@pytest.mark.parametrize(("sizes", "size"), [((4,), 4), ((2, 2), 2), ((1, 1, 1), 1)])
def test_nodes_that_are_alike_have_a_size(sizes: tuple[int, ...], size: int) -> None:
    for told in (True, False):
        assert {one.learners_per_node for one in launched(sizes, told=told)} == {size}


def test_every_process_knows_that_nodes_are_not_alike() -> None:
    assert {one.learners_per_node for one in launched((3, 1))} == {None}


def test_ranks_that_alternate_between_nodes_are_no_neighbours() -> None:
    assert Launch(1, 4, 0, 2).learners_per_node is None


def test_without_a_launcher_s_variables_there_is_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "3",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    launch = Launch.from_environment()
    assert launch is not None
    assert launch.learners_per_node == 3


def test_torchrun_s_variables_say_how_many_nodes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "3"}
    for name, value in {**told, "WORLD_SIZE": "6", "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Launch.from_environment() == Launch(3, 6, 1, 2, 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RANK", "a", "from 0 to 3 (less than WORLD_SIZE)"),
        ("RANK", "7", "from 0 to 3 (less than WORLD_SIZE)"),
        ("RANK", "-1", "from 0 to 3 (less than WORLD_SIZE)"),
        ("WORLD_SIZE", "", "1 or more"),
        ("WORLD_SIZE", "0", "1 or more"),
        ("LOCAL_RANK", "2", "from 0 to 1 (less than LOCAL_WORLD_SIZE)"),
        ("LOCAL_WORLD_SIZE", "5", "from 1 to 4 (no more than WORLD_SIZE)"),
        ("GROUP_WORLD_SIZE", "0", "from 1 to 4 (no more than WORLD_SIZE)"),
        ("MASTER_PORT", "tcp", "from 1 to 65535"),
        ("MASTER_PORT", "65536", "from 1 to 65535"),
    ],
)
def test_what_a_launcher_cannot_mean_is_refused_with_its_name_and_range(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    address = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for one, right in {**told, **address, name: value}.items():
        monkeypatch.setenv(one, right)
    words = f"{name} = {value!r} in the environment, and it has to be a whole number, {said}. Start"
    with pytest.raises(UsageError, match=re.escape(words)):
        Launch.from_environment()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """Of two processes."""
    served = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(served.port))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    return served


@pytest.mark.usefixtures("store")
def test_who_does_not_come_is_named_with_what_was_awaited(caplog: pytest.LogCaptureFixture) -> None:
    meeting = Rendezvous(launched((2,))[0], timeout_s=0.4)
    with pytest.raises(StalledError, match=r"process 1 has not said its keys within 0\.4 s, and"):
        meeting.exchange("keys", "none")
    said = "learner 0 has waited 0.1 s for process 1 to say its keys, and gives up after 0.4 s"
    assert caplog.messages == [said]


@pytest.mark.usefixtures("store")
def test_all_who_do_not_come_are_named_after_one_timeout(caplog: pytest.LogCaptureFixture) -> None:
    meetings = [Rendezvous(launch, timeout_s=0.4) for launch in launched((4,))]
    meetings[2].tell("keys", "none")
    said = r"processes 1, 3 have not said their keys within 0\.4 s, and"
    with pytest.raises(StalledError, match=said):
        meetings[0].exchange("keys", "none")
    assert [vars(record)["fields"]["peers"] for record in caplog.records] == [[1, 3]]


@pytest.mark.usefixtures("store")
def test_who_says_nothing_in_time_is_left_out_of_what_is_shared() -> None:
    meetings = [Rendezvous(launch, timeout_s=0.4) for launch in launched((3,))]
    meetings[2].tell("figures", "3")
    assert meetings[0].share("figures", "1") == {0: "1", 2: "3"}


@pytest.mark.usefixtures("store")
def test_all_processes_hear_that_they_do_not_agree() -> None:
    meetings = [Rendezvous(launch, 30.0) for launch in launched((2,))]
    heard: list[str] = []

    def say(rank: int, ours: str) -> None:
        meetings[rank].agree("sizes", "2", "agree first")
        try:
            meetings[rank].agree("groups", ours, "agree first")
        except UsageError as error:
            heard.append(str(error))

    threads = [threading.Thread(target=say, args=one) for one in enumerate(("[0, 1]", "[0]"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = "groups are [0, 1] in process 0 and [0] in process 1; agree first"
    assert heard == [told, told]
