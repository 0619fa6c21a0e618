"""Netlify's answers, as far as taly reads them; fields and values it does not know are let pass."""

from pydantic import AwareDatetime, Field

from taly.providers.payload import Payload

IN_PROGRESS = frozenset(
    {
        "new",
        "pending_review",
        "accepted",
        "enqueued",
        "building",
        "uploading",
        "uploaded",
        "preparing",
        "prepared",
        "processing",
        "processed",
        "retrying",
    }
)
RESTORABLE = frozenset({"ready", "old"})
"""`old` is not documented, and occurs on superseded deploys."""
FAILED = frozenset({"error", "rejected"})


class DeployPayload(Payload):
    """`deploy` of netlify/open-api. Its `state` is an open set: never an enum."""

    id: str
    site_id: str = ""
    state: str = ""
    context: str | None = None
    branch: str | None = None
    commit_ref: str | None = None
    title: str | None = None
    created_at: AwareDatetime
    published_at: AwareDatetime | None = None
    locked: bool | None = None
    error_message: str | None = None

    @property
    def label(self) -> str:
        """What a person recognises it by."""
        return (self.commit_ref or self.id)[:7]


class BuildSettings(Payload):
    """`repoInfo` of netlify/open-api: the part that decides whether a push builds."""

    stop_builds: bool | None = None


class SitePayload(Payload):
    """`site` of netlify/open-api."""

    id: str
    name: str = ""
    plan: str | None = None
    url: str | None = None
    ssl_url: str | None = None
    account_id: str | None = None
    published_deploy: DeployPayload | None = None
    build_settings: BuildSettings | None = None

    @property
    def live(self) -> str:
        """The published deploy's id; empty = nothing is published."""
        return self.published_deploy.id if self.published_deploy else ""

    @property
    def locked(self) -> bool:
        """Whether auto publishing is stopped: the lock stands on the published deploy."""
        return bool(self.published_deploy and self.published_deploy.locked)

    @property
    def stops_builds(self) -> bool:
        """Whether pushes are not even built."""
        return bool(self.build_settings and self.build_settings.stop_builds)


class VariablePayload(Payload):
    """`envVar` of netlify/open-api, without its values: they are not read."""

    key: str
    updated_at: AwareDatetime | None = Field(default=None)
