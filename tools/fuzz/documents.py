"""Readers of single documents, each with good documents that taly itself, or a user, made."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engine_world import NOON, rollback

from taly.app.checkout import scan
from taly.checkout import package_name
from taly.config import load_config
from taly.engine.audit import read_lines, to_line
from taly.engine.audit.exported import export, verify_lines
from taly.engine.codec import plan_from_json, plan_to_json
from taly.engine.owner import Owner
from taly.engine.store import open_store
from taly.model.events import Act, RunFinished
from taly.planning.carry import read_hints
from taly.planning.migrations import CatalogFacts, classify_all, wanted_facts

Read = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Reader:
    """One reader of what others wrote."""

    name: str
    seeds: Sequence[bytes]
    read: Read
    """Takes the document and a folder of its own."""
    file: str = ""
    """Under this name the document is put into the folder first; empty = it is not."""
    weight: int = 1
    put: Read | None = None
    """Puts it into the folder in another way."""

    def prepare(self, data: bytes, folder: Path) -> None:
        """Everything that is not taly's own work."""
        if self.put is not None:
            self.put(data, folder)
        elif self.file:
            path = folder / self.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


TOML = """
environment = "production"
store = "taly.db"

[policy]
max_parallel = 4

[components.database]
provider = "postgres"
migrations = "backend/prisma/migrations"

[components.database.columns."rides.state"]
enum_map = { OPEN = "NEW" }

[components.backend]
provider = "apprunner"
service = "backend"
region = "eu-central-1"
after = ["database"]

[components.backend.health]
url = "https://api.example/health"
expect = { status = "ok", version = "{commit}" }
"""
ALIASES = """service: mail
x: &x [one, 2, 0x3, 4.5, 2026-01-01, on, ~]
y: &y {a: *x, b: !Sub "${AWS::Region}"}
provider: {<<: [*y, {stage: dev}], region: ["*x", *x], stackName: &z "${self:service}-${opt:stage}"}
z: [*y, *y, *z]
"""
SERVERLESS = """
service: notify
provider: &p
  name: aws
  stage: ${opt:stage, 'production'}
  region: eu-central-1
functions:
  send: { handler: h.send, events: [ { http: { path: !Sub "/x", method: get } } ] }
resources: { Resources: { T: { Type: "AWS::DynamoDB::Table", Properties: *p } } }
"""
PRISMA = 'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n'
SQL = (
    'CREATE TABLE "A" (id serial PRIMARY KEY, b text DEFAULT \'x\', "c" int REFERENCES "A"(id));',
    'ALTER TABLE "A" ADD COLUMN d "E"[], ALTER COLUMN b TYPE varchar(10) USING left(b, 10);',
    "DO $$ BEGIN EXECUTE 'drop table x'; END $$; UPDATE \"A\" SET b = lower(b) WHERE id > 3;",
    "CREATE TYPE \"E\" AS ENUM ('a','b'); ALTER TYPE \"E\" ADD VALUE 'c';",
    'CREATE INDEX i ON "A" (lower(b)) WHERE d IS NULL; ALTER TABLE "A" DROP COLUMN c;',
)
VERCEL = b'{"projectId": "prj_1", "orgId": "team_1"}'
HINTS = """{"rides.state": {"enum_map": {"OPEN": "NEW"}}, "a.b": {"fill": "now()"},
 "c.d": {"transform": "lower(s.d)"}}"""


def documents(base: Path) -> list[Reader]:
    """All of them; good documents that taly has to make are made in `base`."""
    plan = plan_to_json(rollback(5)).encode()
    return [
        Reader("plan", [plan], lambda data, _: _quiet(plan_from_json(data)), weight=3),
        Reader("audit-export", [_exported(base)], _audit, weight=2),
        Reader("taly.toml", [TOML.encode()], _toml, "taly.toml", weight=2),
        Reader("column-hints", [HINTS.encode()], _hints),
        Reader("migration", [one.encode() for one in SQL], _migration, weight=2),
        Reader(
            "checkout-serverless",
            [SERVERLESS.encode(), ALIASES.encode()],
            _checkout,
            "serverless.yml",
        ),
        Reader("checkout-prisma", [PRISMA.encode()], _checkout, "prisma/schema.prisma"),
        Reader("checkout-vercel", [VERCEL], _checkout, ".vercel/project.json"),
        Reader("checkout-netlify", [b'{"siteId": "s"}'], _checkout, ".netlify/state.json"),
        Reader("checkout-netlify-toml", [b'[build]\npublish = "d"\n'], _checkout, "netlify.toml"),
        Reader("checkout-package", [b'{"name": "@a/b"}'], _package, "package.json"),
    ]


def _quiet(value: object) -> None:
    """What was read is printed somewhere: that must work too."""
    repr(value).encode("utf-8", "surrogatepass")


def _exported(base: Path) -> bytes:
    store = open_store(base / "seed.db")
    lease = store.create_run(rollback(2), Owner.here("ana"), at=NOON, version="1", lease_s=20)
    store.append(lease, [(NOON, RunFinished(outcome="succeeded"))], after=1)
    store.note("production", NOON, Act(kind="forgot", by="ana", about={"run": lease.run_id}))
    lines = [to_line(line) for line in export(store, "production")]
    store.close()
    return "\n".join(lines).encode()


def _audit(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "replace")
    verify_lines(read_lines(text.splitlines(), "export"))


def _toml(data: bytes, folder: Path) -> None:
    load_config(folder / "taly.toml")


def _hints(data: bytes, folder: Path) -> None:
    read_hints(data.decode("utf-8", "replace"))


def _migration(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8-sig", "replace")
    texts = [("1", SQL[0]), ("2", text)]
    wanted_facts(texts, after=1, complete=True)
    classify_all(texts, after=1, catalog=CatalogFacts(complete=True))


def _checkout(data: bytes, folder: Path) -> None:
    for found in scan(folder, stage="production"):
        json.dumps([found.name, found.path, found.unusable, dict(found.settings)]).encode()


def _package(data: bytes, folder: Path) -> None:
    package_name(folder)
