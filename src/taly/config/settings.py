"""Every setting of taly.toml, its default and what it means; the reference is written from this."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

COLUMN = r"^([^.]+\.)?[^.]+\.[^.]+$"
"""`table.column` or `schema.table.column`."""


class Strict(BaseModel):
    """Settings that nobody gave a name to are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AppRunnerSettings(Strict):
    """Where an App Runner service is."""

    service: str = Field(description="Name or ARN of the service.")
    region: str = Field(default="", description="AWS region; else AWS_REGION.")


class NetlifySettings(Strict):
    """Where a Netlify site is."""

    site: str = Field(description="Site id, or its netlify.app name.")


class VercelSettings(Strict):
    """Where a Vercel project is."""

    project: str = Field(description="Project id or name.")
    team: str = Field(default="", description="Team id; needed when a team owns the project.")


class ServerlessSettings(Strict):
    """Where a Serverless Framework service is."""

    service: str = Field(description="`service` of serverless.yml.")
    stage: str = Field(default="dev", description="The stage that was deployed.")
    region: str = Field(default="", description="AWS region; else AWS_REGION.")
    stack: str = Field(default="", description="`provider.stackName`, where it is set.")
    bucket: str = Field(default="", description="`provider.deploymentBucket`, where it is set.")
    prefix: str = Field(default="", description="`provider.deploymentPrefix`, where it is set.")


class ColumnHint(Strict):
    """How a column's values read back, where the old schema cannot tell."""

    enum_map: dict[str, str] = Field(
        default_factory=dict, description="Label only the new schema has → label for the old one."
    )
    fill: str = Field(
        default="", description="SQL for a value that the new schema has no more; may use columns."
    )
    transform: str = Field(
        default="", description="SQL over the new columns that gives the old value."
    )


class PostgresSettings(Strict):
    """Where a PostgreSQL with Prisma migrations is."""

    url_env: str = Field(default="DATABASE_URL", description="Variable that holds the URL.")
    migrations: str = Field(
        default="prisma/migrations", description="Directory, relative to taly.toml."
    )
    schema_: str = Field(default="public", alias="schema", description="Schema of the ledger.")
    checkpoints: str = Field(
        default=".taly/checkpoints", description="Folder of checkpoints, relative to taly.toml."
    )
    rescue: str = Field(
        default=".taly/rescue", description="Folder of rescue bundles, relative to taly.toml."
    )
    rds: str = Field(default="", description="Identifier of its RDS instance, where it is one.")
    region: str = Field(default="", description="AWS region of that; else AWS_REGION.")
    columns: dict[Annotated[str, Field(pattern=COLUMN)], ColumnHint] = Field(
        default_factory=dict, description="Hints for columns, by their old names; see below."
    )


SETTINGS: Mapping[str, type[Strict]] = {
    "apprunner": AppRunnerSettings,
    "netlify": NetlifySettings,
    "vercel": VercelSettings,
    "serverless": ServerlessSettings,
    "postgres": PostgresSettings,
}


class HealthSettings(Strict):
    """How to ask the application itself whether, and as which version, it works."""

    url: str = Field(pattern=r"^https?://", description="Fetched with GET.")
    status: int = Field(default=200, ge=100, le=599, description="Status that means healthy.")
    expect: dict[str, str] = Field(
        default_factory=dict,
        description="Dotted JSON path → text; {commit} and {deployment} stand for the target's.",
    )
    header: dict[str, str] = Field(default_factory=dict, description="Response header → text.")
    contains: str = Field(default="", description="Text that the body must hold.")
    successes: int = Field(default=3, ge=1, le=100, description="Good answers in a row.")
    interval_s: float = Field(default=2.0, gt=0, le=300, description="Seconds between requests.")
    deadline_s: float = Field(default=180.0, gt=0, le=7200, description="Seconds to succeed in.")


class PolicySettings(Strict):
    """What the team allows and wants of a rollback."""

    on_failure: Literal["halt", "undo"] = Field(
        default="halt", description="What happens when a step fails."
    )
    confirm: str = Field(default="", description="Text that --confirm must give.")
    grouping_window_s: float = Field(
        default=3600.0, gt=0, description="Deploys closer in time belong to one release."
    )
    lease_s: float = Field(
        default=20.0, ge=5, le=600, description="Silence after which a run may be taken over."
    )


class CheckpointSettings(Strict):
    """Which checkpoints `taly checkpoint prune` leaves."""

    keep: int = Field(default=5, ge=1, description="So many of the newest stay.")
    keep_days: float = Field(
        default=0.0, ge=0, le=36_500, description="Those that are not older stay as well."
    )


class SandboxSettings(Strict):
    """Only in a sandbox: taly keeps its clock in step with it."""

    control: str = Field(pattern=r"^http://127\.0\.0\.1:\d+$", description="The control API.")


class SecretSettings(Strict):
    """Where a secret is kept: one of these, and never the secret itself."""

    env: str = Field(default="", description="Name of the variable that holds it.")
    file: str = Field(default="", description="File that holds it, relative to taly.toml.")
    command: tuple[str, ...] = Field(
        default=(), description="Program and arguments that print it, run without a shell."
    )

    @model_validator(mode="after")
    def _one(self) -> "SecretSettings":
        if sum(map(bool, (self.env, self.file, self.command))) != 1:
            raise ValueError("give exactly one of env, file and command")
        return self


class NetworkSettings(Strict):
    """How vendors, applications and databases are reached."""

    ca_file: str = Field(
        default="",
        description="Certificates (PEM) that are trusted besides the machine's own, relative to"
        " taly.toml; else TALY_CA_FILE.",
    )


class File(Strict):
    """The whole file; components are looked at one by one."""

    environment: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    store: str = Field(default="", description="postgresql://… for a team; else a local file.")
    shared: str = Field(default="", description="s3://bucket/prefix for a team without that.")
    shared_region: str = Field(default="", description="AWS region of that bucket.")
    sandbox: SandboxSettings | None = None
    policy: PolicySettings = PolicySettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    network: NetworkSettings = NetworkSettings()
    secrets: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], SecretSettings] = {}
    components: dict[str, dict[str, Any]] = Field(min_length=1)
