"""What a call costs does not depend on how much is served already. Counted, not timed; bench/scale.py has the times."""

from __future__ import annotations

import pytest

from target_image.agent.engines.tgt.ipc import ManagementSocket, Request
from target_image.agent.service.agent import Agent
from tests.target_image.conftest import MakeLocalAgent, export_spec, volume_spec

pytestmark = pytest.mark.integration
FEW, MANY = 2, 60


class Traffic:
    """With tgtd, whose one loop carries everybody's I/O, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests = 0
        self.answered_bytes = 0
        send = ManagementSocket.send

        def counted(socket: ManagementSocket, request: Request) -> str:
            answer = send(socket, request)
            self.requests += 1
            self.answered_bytes += len(answer)
            return answer

        monkeypatch.setattr(ManagementSocket, "send", counted)

    def of_one_life(self, agent: Agent) -> tuple[int, int]:
        """Of making an export, looking at it, changing it and taking it down."""
        before = self.requests, self.answered_bytes
        agent.volumes.ensure("one-more", volume_spec(1))
        agent.exports.ensure("one-more", export_spec("one-more"))
        agent.exports.get("one-more")
        access = {"initiators": ["iqn.2026-11.test:only"]}
        agent.exports.ensure("one-more", export_spec("one-more", access=access), "*")
        agent.exports.remove("one-more")
        agent.volumes.remove("one-more")
        return self.requests - before[0], self.answered_bytes - before[1]


def test_the_cost_of_a_call_stays_flat(make_local_agent: MakeLocalAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = make_local_agent()
    agent.supervisor.stop()  # its own looks would be counted, too
    agent.engine.start()
    agent.engine.open()
    traffic = Traffic(monkeypatch)
    costs = []
    for count in (FEW, MANY):
        for number in range(len(agent.exports.list()), count):
            agent.volumes.ensure(f"disk-{number}", volume_spec(1))
            agent.exports.ensure(f"disk-{number}", export_spec(f"disk-{number}"))
        costs.append(traffic.of_one_life(agent))
    (few_requests, few_bytes), (many_requests, many_bytes) = costs
    assert few_requests == many_requests
    assert abs(few_bytes - many_bytes) < 100  # tids have more digits
    agent.engine.stop()
