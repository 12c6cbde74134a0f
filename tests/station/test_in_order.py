"""What several threads work on is handed over in the order in which they began."""

from __future__ import annotations

import random
import threading
import time

from patchebm.station.in_order import InOrder


def test_results_that_are_early_wait_for_those_before_them() -> None:
    handed: list[str] = []
    order = InOrder(handed.append)
    first, second, third = (order.begin("flange") for _ in range(3))
    gear = order.begin("gear")
    order.end(second, "second")
    assert handed == []
    # Another group does not wait.
    order.end(gear, "gear")
    # Work that failed gives nothing, and holds up nothing.
    order.end(first, None)
    assert handed == ["gear", "second"]
    order.end(third, "third")
    assert handed == ["gear", "second", "third"]


def test_threads_hand_over_in_order() -> None:
    handed: list[int] = []
    order, taking = InOrder(handed.append), threading.Lock()
    work = iter(range(200))

    def run(seed: int) -> None:
        chooser = random.Random(seed)
        while True:
            with taking:
                number = next(work, None)
                if number is None:
                    return
                turn = order.begin("flange")
            time.sleep(chooser.uniform(0, 0.003))
            order.end(turn, number)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handed == list(range(200))
