"""Who is to blame for a task that does not end: it, or a worker that has stopped."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from studies import crew

TIMEOUT = 6.0  # a job is late after 17 s, and a worker silent that was not heard of for 12.75 s


@pytest.mark.parametrize(
    ("unheard", "found"),
    [
        (0.5, [("job", False)]),  # it answers: the job is to blame
        (3.0, [("job", False)]),
        (5.0, []),  # heartbeats are missing: the next comes soon, or it has stopped
        (12.0, []),
        (13.0, [("job", True)]),
        (None, [("job", True)]),  # it is gone
    ],
)
def test_a_late_job_is_judged_when_its_worker_is_known_to_answer_or_not(
    unheard: float | None, found: list[tuple[str, bool]], monkeypatch: Any
) -> None:
    now = time.time()
    monkeypatch.setattr(crew, "time", SimpleNamespace(time=lambda: now, monotonic=lambda: now))  # however slow the machine is
    known = {} if unheard is None else {"tcp://w": {"last_seen": now - unheard}}
    client = SimpleNamespace(
        scheduler=SimpleNamespace(address="tcp://s"),
        subscribe_topic=lambda *_: None,
        status="running",
        scheduler_comm=SimpleNamespace(comm=None, closed=lambda: False),
        nthreads=lambda **_: {"tcp://w": 1},
        scheduler_info=lambda **_: {"workers": known},
    )
    ended: list[str] = []
    monkeypatch.setattr(crew, "end_worker", lambda _client, address: ended.append(address))
    mine = crew.Crew(client, TIMEOUT)  # type: ignore[arg-type]
    cancelled: list[bool] = []
    mine._flying["job"] = SimpleNamespace(cancel=lambda force: cancelled.append(force))
    mine._started["job"] = (now - 18.0, "tcp://w")
    assert mine.hung() == found
    assert bool(ended) == bool(cancelled) == bool(found)
    assert ("job" in mine._flying) == (not found)
