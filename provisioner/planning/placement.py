"""On which target a new volume goes (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.errors import Permanent, Transient
from provisioner.planning.claims import TARGET, ClaimRequest, ClassPolicy
from provisioner.settings import TargetSettings


def candidates(policy: ClassPolicy, noted: str, targets: Sequence[TargetSettings]) -> list[str]:
    """The names of the targets that a claim's volume may be on.

    Args:
        policy: the claim's class.
        noted: the target noted on the claim, or an empty string.
        targets: every configured target.

    Raises:
        Permanent: NoSuchTarget: the class fits none of them, or does not allow the noted one.
    """
    wanted = policy.parameters
    fitting = [
        target.name
        for target in targets
        if (not wanted.target or target.name == wanted.target)
        and all(target.labels.get(key) == value for key, value in wanted.target_labels.items())
    ]
    every = ", ".join(target.name for target in targets)
    if not fitting:
        selector = wanted.target or ",".join(f"{key}={value}" for key, value in wanted.target_labels.items())
        raise Permanent(
            "NoSuchTarget",
            f"StorageClass {policy.name} asks for target {selector!r}; there are {every}. Create the class again with "
            "one of them, or add the target to the provisioner's configuration.",
        )
    if noted and noted not in fitting:
        raise Permanent(
            "NoSuchTarget",
            f"the claim's annotation {TARGET} names {noted!r}, but its class allows {', '.join(fitting)}; "
            "correct or remove the annotation.",
        )
    return [noted] if noted else fitting


def choose(request: ClaimRequest, available_bytes: Mapping[str, int | None]) -> str:
    """The candidate with the most room.

    Args:
        request: what the claim asks for.
        available_bytes: the room of each candidate; None where it does not answer.

    Raises:
        Transient: TargetDown: no candidate answers; NoSpace: none has enough room.
    """
    answering = {name: room for name, room in available_bytes.items() if room is not None}
    if not answering:
        raise Transient("TargetDown", f"none of the targets {', '.join(available_bytes)} answers.")
    best = max(sorted(answering), key=lambda name: answering[name])
    if answering[best] < request.size_bytes:
        raise Transient(
            "NoSpace",
            f"the claim asks for {request.size_bytes} bytes; the most that a target can promise is "
            f"{max(0, answering[best])} ({best}). Ask for less, or make room.",
            30.0,
        )
    return best
