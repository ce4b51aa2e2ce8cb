"""Locks by name."""

from __future__ import annotations

import threading

from target_image.agent.service.locks import Locks


def test_locks_keep_one_name_apart_and_forget_it() -> None:
    locks = Locks()
    inside: list[str] = []
    together = threading.Barrier(4)

    def work(names: list[str]) -> None:
        together.wait()
        for _ in range(200):
            with locks.hold(names):
                assert not set(inside) & set(names)
                inside.extend(names)
                for name in names:
                    inside.remove(name)

    threads = [threading.Thread(target=work, args=(names,)) for names in (["a", "b"], ["b", "a"], ["b", "c"], ["c"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    assert locks._locks == {}
