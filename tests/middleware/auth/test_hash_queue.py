"""The order of slow hashes, hash by hash: who passes behind which flood, who is refused, what time shows."""

from dataclasses import dataclass, field

import pytest

from octy_middleware.auth.hash_queue import HashQueue, HashRequest

B, OWNER = "pk_customer", "203.0.113.0"
HASH = 1  # the unit of time here


@dataclass
class Simulation:
    """Computes one hash after the other, each in one unit of time, and notes when each request was decided and how.

    `imported`: the right secret of each key with a hash of its own; every other key takes a decoy's.
    """

    imported: dict[str, str]
    max_queued: int = 65
    max_blocked_threads: int = 5
    now: int = 0
    decided: dict[HashRequest, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue = HashQueue(max_queued=self.max_queued, max_blocked_threads=self.max_blocked_threads)
        self.running: tuple[HashRequest, bool] | None = None

    def send(self, public_key: str, source: str, secret: str = "wrong", *, in_thread: bool = False) -> HashRequest:
        right = self.imported.get(public_key)
        request = HashRequest(
            lambda: secret == right,
            self.note,
            public_key,
            source,
            is_decoy=right is None,
            holds_thread=in_thread,
        )
        turned_away = self.queue.add(request)
        if turned_away is not None:
            turned_away.decide(turned_away, None)
        if self.running is None:
            self.running = self.queue.take()
        return request

    def note(self, request: HashRequest, result: bool | None) -> None:
        assert request not in self.decided
        right = result and not request.is_decoy
        self.decided[request] = (
            self.now,
            "200" if right else "401" if request.is_queued and result is not None else "503",
        )

    def pass_time(self, hashes: int) -> None:
        """Compute so many hashes; nothing is computed while none waits."""
        for _ in range(hashes):
            self.now += HASH
            if self.running is not None:
                request, early = self.running
                result = request.compute()
                if self.queue.finish(request, result, early=early):
                    request.decide(request, result)
            self.running = self.queue.take()


def one_key(simulation: Simulation, number: int) -> None:
    simulation.send("pk_attacked", f"10.{number // 256}.{number % 256}.0")


def unknown_keys(simulation: Simulation, number: int) -> None:
    simulation.send(f"pk_unknown{number}", f"10.{number // 256}.{number % 256}.0")


def unknown_keys_of_one_source(simulation: Simulation, number: int) -> None:
    simulation.send(f"pk_unknown{number}", "10.0.0.0")


def all_three(simulation: Simulation, number: int) -> None:
    (one_key, unknown_keys, unknown_keys_of_one_source)[number % 3](simulation, number)


def many_imported_keys(simulation: Simulation, number: int) -> None:
    simulation.send(f"pk_imported{number % 40}", f"10.{number // 256}.{number % 256}.0")


FLOODS = (one_key, unknown_keys, unknown_keys_of_one_source, all_three)


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("flood", FLOODS)
def test_right_key_pair_passes_behind_a_flood_within_the_running_hash_a_round_and_its_own(
    flood: object, *, in_thread: bool
) -> None:
    simulation = Simulation({B: "right", "pk_attacked": "x"})
    for number in range(1000):
        flood(simulation, number)  # type: ignore[operator]
    sent_at, customer = simulation.now, simulation.send(B, OWNER, "right", in_thread=in_thread)
    for number in range(1000, 1400):  # it goes on: 100 a hash
        if number % 100 == 0:
            simulation.pass_time(1)
        flood(simulation, number)  # type: ignore[operator]
    decided_at, status = simulation.decided[customer]
    assert status == "200"
    assert decided_at - sent_at <= 3 * HASH  # the one that runs, one of the common queue, its own


def test_right_key_pair_passes_behind_a_flood_on_many_imported_keys_once_each_had_its_turn() -> None:
    simulation = Simulation({B: "right", **{f"pk_imported{number}": "x" for number in range(40)}})
    number = 0
    for _ in range(200):  # so that each of the attacked keys was served
        for _ in range(50):
            many_imported_keys(simulation, number)
            number += 1
        simulation.pass_time(1)
    customer = simulation.send(B, OWNER, "right")
    sent_at = simulation.now
    for _ in range(10):
        for _ in range(50):
            many_imported_keys(simulation, number)
            number += 1
        simulation.pass_time(1)
    decided_at, status = simulation.decided[customer]
    assert (status, decided_at - sent_at <= 3 * HASH) == ("200", True)


@pytest.mark.parametrize("flood", [*FLOODS, many_imported_keys])
def test_queue_is_bounded_in_all_and_by_key_and_by_source(flood: object) -> None:
    simulation = Simulation({"pk_attacked": "x", **{f"pk_imported{number}": "x" for number in range(40)}})
    for number in range(5000):
        flood(simulation, number)  # type: ignore[operator]
    limit = {one_key: 16 + 1, unknown_keys: 65, unknown_keys_of_one_source: 4}.get(flood, 65 + 16)  # type: ignore[call-overload]
    assert 0 < len(simulation.queue) <= limit
    turned_away = [status for _, status in simulation.decided.values()]
    assert turned_away == ["503"] * (5000 - len(simulation.queue))
    simulation.pass_time(300)
    assert len(simulation.queue) == 0
    assert not simulation.queue.has_work
    assert len(simulation.decided) == 5000


def test_one_source_leaves_a_place_that_holds_a_thread_to_others() -> None:
    simulation = Simulation({})
    for number in range(100):
        simulation.send(f"pk_unknown{number}", "10.0.0.0", in_thread=True)
    other = simulation.send("pk_other", OWNER, in_thread=True)
    simulation.pass_time(10)
    assert simulation.decided[other][1] == "401"


def test_requests_that_hold_a_thread_are_limited_to_max_blocked_threads() -> None:
    for limit in (1, 2, 5, 8):
        simulation = Simulation({"pk_attacked": "x"}, max_blocked_threads=limit)
        for number in range(100):
            simulation.send(("pk_attacked", f"pk_unknown{number}")[number % 2], f"10.0.{number}.0", in_thread=True)
        assert 1 <= len(simulation.queue) <= limit
        simulation.pass_time(30)
        assert len(simulation.queue) == 0


@pytest.mark.parametrize("before", [0, 1, 3, 10, 40], ids=lambda number: f"{number} before")
@pytest.mark.parametrize("probes", [1, 3, 4, 12])
def test_refusals_of_an_existing_and_an_unknown_key_are_sent_at_the_same_time_whatever_else_waits(
    before: int, probes: int
) -> None:
    """Also those of the others: what is computed early for an existing key delays them no more than a decoy does."""

    def times(probed: str) -> list[tuple[int, str]]:
        simulation = Simulation({"pk_existing": "x"})
        others = [simulation.send(f"pk_unknown{number}", f"10.0.{number}.0") for number in range(before)]
        requests = [simulation.send(probed, f"198.51.{number}.0") for number in range(probes // 2)]
        simulation.pass_time(2)
        requests += [simulation.send(probed, f"203.0.{number}.0") for number in range(probes - probes // 2)]
        others += [simulation.send(f"pk_later{number}", f"10.1.{number}.0") for number in range(5)]
        simulation.pass_time(400)
        return [simulation.decided[request] for request in (*requests, *others)]

    assert times("pk_existing") == times("pk_nonexistent")


def test_lone_request_is_decided_by_one_hash_and_nothing_is_computed_afterwards() -> None:
    for secret, status in (("right", "200"), ("wrong", "401")):
        simulation = Simulation({B: "right"})
        request = simulation.send(B, OWNER, secret)
        simulation.pass_time(1)
        assert simulation.decided == {request: (1, status)}
        assert simulation.running is None


def test_right_key_pairs_alone_are_each_computed_once() -> None:
    simulation = Simulation({f"pk_{number}": "right" for number in range(20)})
    for number in range(20):
        simulation.send(f"pk_{number}", f"10.0.{number}.0", "right")
    simulation.pass_time(20)
    assert [status for _, status in simulation.decided.values()] == ["200"] * 20


def test_wrong_secret_without_a_place_in_the_common_queue_is_503_like_that_of_an_unknown_key() -> None:
    simulation = Simulation({B: "right"})
    for number in range(100):
        unknown_keys(simulation, number)
    wrong, unknown = simulation.send(B, OWNER), simulation.send("pk_nonexistent", OWNER)
    simulation.pass_time(10)
    assert [simulation.decided[request][1] for request in (wrong, unknown)] == ["503", "503"]


def test_hash_that_cannot_be_computed_early_is_computed_again_in_its_turn() -> None:
    queue = HashQueue(max_queued=10, max_blocked_threads=5)
    requests = [HashRequest(lambda: True, lambda *_: None, f"pk_{number}", "a") for number in range(2)]
    assert [queue.add(request) for request in requests] == [None, None]
    assert queue.take() == (requests[0], False)
    assert queue.finish(requests[0], None, early=False)
    assert queue.take() == (requests[1], True)
    assert not queue.finish(requests[1], None, early=True)
    assert queue.take() == (requests[1], False)
    assert queue.finish(requests[1], True, early=False)
    assert queue.take() is None
    assert len(queue) == 0


def test_turns_of_4096_keys_are_remembered_and_older_ones_forgotten() -> None:
    simulation = Simulation({f"pk_{number}": "right" for number in range(5000)})
    for number in range(4098):
        simulation.send(f"pk_{number}", "10.0.0.0", "right")
        simulation.pass_time(1)
    simulation.send("pk_unknown", "10.0.1.0")  # computed first
    forgotten, remembered = (simulation.send(f"pk_{number}", "10.0.2.0", "right") for number in (0, 100))
    never = simulation.send("pk_4999", "10.0.3.0", "right")
    simulation.pass_time(10)
    at = {request: simulation.decided[request][0] for request in (forgotten, remembered, never)}
    assert at[forgotten] < at[never] < at[remembered]


def test_request_computed_in_both_turns_at_once_is_decided_once() -> None:
    for first_early in (True, False):
        queue = HashQueue(max_queued=10, max_blocked_threads=5)
        requests = [HashRequest(lambda: True, lambda *_: None, f"pk_{number}", "a") for number in range(2)]
        for request in requests:
            queue.add(request)
        assert queue.take() == (requests[0], False)
        assert queue.take() == (requests[1], True)
        assert queue.take() == (requests[1], False)
        assert queue.finish(requests[1], True, early=first_early)
        assert not queue.finish(requests[1], True, early=not first_early)
        assert queue.finish(requests[0], True, early=False)
        assert len(queue) == 0
