from __future__ import annotations

import threading

from knarr.registryd.turns import Turns


def test_one_at_a_time_for_a_key() -> None:
    turns = Turns()
    inside: list[int] = []
    most: list[int] = []

    def take(number: int) -> None:
        for _ in range(50):
            with turns.of(number % 2):
                inside.append(number % 2)
                most.append(inside.count(number % 2))
                inside.remove(number % 2)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert set(most) == {1}
    assert not turns._locks


def test_other_keys_do_not_wait() -> None:
    turns = Turns()
    with turns.of("a"), turns.of("b"):
        pass
