"""What can go wrong in the agent, and how the API tells it.

    AgentError
    ├── SettingsError                  start refused: contradicting or unsafe settings
    ├── LedgerError                    start refused: locked, from a newer version, unreadable
    ├── Unauthorized          401
    ├── NotFound              404
    ├── Conflict              409
    │   ├── IdentityConflict           the same id with another identity; repeating it never helps
    │   ├── NameTaken                  an IQN or CHAP name belongs to another export
    │   ├── InUse                      live sessions; listed
    │   ├── StartGrace                 started a moment ago: no session yet does not mean unused
    │   ├── VolumeExported             an export still serves the volume
    │   └── NotReady                   what the request builds on is not ready
    ├── PreconditionFailed    412      If-Match names another revision
    ├── Invalid               422
    │   ├── NotSupported               this engine or store cannot do it
    │   └── UnknownImage               neither in the catalogue nor under /v1/images
    ├── ImageFailed           424      the image could not be fetched, verified or converted
    ├── PreconditionRequired  428      a change without If-Match
    ├── StoreFailed           500
    │   └── SourceChanged              the source of a copy was written meanwhile
    ├── EngineFailed          503
    │   └── EngineDown                 the engine's process does not answer
    └── NoSpace               507

`code` is stable and part of the API; `retryable` says whether repeating the same request can succeed
without anyone changing it. A detail says what was attempted, on what, why it failed and what to do next,
and never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from target_image.api import responses
from target_image.api.failures import ExpectedError
from target_image.api.problems import Code


class AgentError(ExpectedError):
    """Any error of the agent that is told to a caller."""

    code: ClassVar[Code] = Code.INTERNAL
    title: ClassVar[str] = "The agent failed"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str, *, sessions: Sequence[responses.Session] = (), retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.sessions = tuple(sessions)
        self.retry_after_s = retry_after_s


class SettingsError(AgentError):
    code = Code.SETTINGS
    title = "The settings do not fit together"


class LedgerError(AgentError):
    code = Code.LEDGER
    title = "The ledger cannot be used"


class Unauthorized(AgentError):
    code = Code.UNAUTHORIZED
    title = "A bearer token is needed"
    status = 401


class NotFound(AgentError):
    code = Code.NOT_FOUND
    title = "There is no such thing"
    status = 404


class Conflict(AgentError):
    code = Code.CONFLICT
    title = "The request contradicts what is there"
    status = 409


class IdentityConflict(Conflict):
    code = Code.IDENTITY_CONFLICT
    title = "The id exists with another identity"


class NameTaken(Conflict):
    code = Code.NAME_TAKEN
    title = "Another export has this name"


class InUse(Conflict):
    code = Code.IN_USE
    title = "Live sessions are in the way"
    retryable = True


class StartGrace(Conflict):
    code = Code.START_GRACE
    title = "The target has just started"
    retryable = True


class VolumeExported(Conflict):
    code = Code.VOLUME_EXPORTED
    title = "The volume is exported"
    retryable = True


class NotReady(Conflict):
    code = Code.NOT_READY
    title = "Something this builds on is not ready"
    retryable = True


class PreconditionFailed(AgentError):
    code = Code.PRECONDITION_FAILED
    title = "It changed since it was read"
    status = 412


class Invalid(AgentError):
    code = Code.INVALID
    title = "The request makes no sense"
    status = 422


class NotSupported(Invalid):
    code = Code.NOT_SUPPORTED
    title = "This target cannot do that"


class UnknownImage(Invalid):
    code = Code.UNKNOWN_IMAGE
    title = "There is no such image"


class PreconditionRequired(AgentError):
    code = Code.PRECONDITION_REQUIRED
    title = "A change needs If-Match"
    status = 428


class StoreFailed(AgentError):
    code = Code.STORE_FAILED
    title = "The volume store failed"
    retryable = True


class SourceChanged(StoreFailed):
    code = Code.SOURCE_CHANGED
    title = "The source was written while it was copied"


class ImageFailed(AgentError):
    code = Code.IMAGE_FAILED
    title = "The image cannot be used"
    status = 424
    retryable = True


class EngineFailed(AgentError):
    code = Code.ENGINE_FAILED
    title = "The iSCSI engine refused"
    status = 503
    retryable = True


class EngineDown(EngineFailed):
    code = Code.ENGINE_DOWN
    title = "The iSCSI engine does not answer"


class NoSpace(AgentError):
    code = Code.NO_SPACE
    title = "There is not enough space"
    status = 507
    retryable = True
