"""The real Prisma CLI after a revert: it applies the migration that has been mended."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.contract.revert_stage import Project
from tests.e2e.clients import node, prisma_cli

INIT, BAD = "20250101000000_init", "20250201000000_bad"
CONFIG = """
import { defineConfig } from "prisma/config";
import { PrismaPg } from "@prisma/adapter-pg";
export default defineConfig({
  experimental: { adapter: true },
  engine: "js",
  adapter: async () => new PrismaPg({
    connectionString: process.env.DATABASE_URL,
    allowExitOnIdle: true,
  }),
  schema: "prisma/schema.prisma",
});
"""

ENDS_AT_ONCE = """
const start = globalThis.setTimeout;
globalThis.setTimeout = (...given) => {
  const timer = start(...given);
  if (given[1] === 10000) timer.unref();
  return timer;
};
"""
"""Each command waits at its end for a timer of 10 s, that of a lock which it has long got."""

DATASOURCE = """
datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
"""


@pytest.fixture
def prisma(tmp_path: Path, postgres_url: str) -> Path:
    """A folder with Prisma in it: its schema engine is WebAssembly, nothing is downloaded."""
    (tmp_path / "node_modules").symlink_to(prisma_cli())
    (tmp_path / "prisma.config.ts").write_text(CONFIG)
    (tmp_path / "ends-at-once.cjs").write_text(ENDS_AT_ONCE)
    (tmp_path / "no-engine").touch(mode=0o700)
    return tmp_path


def run(prisma: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`prisma migrate …`, as a user types it."""
    engine = str(prisma / "no-engine")
    return subprocess.run(
        [
            *(node(), "--require", str(prisma / "ends-at-once.cjs")),
            *(str(prisma / "node_modules/prisma/build/index.js"), "migrate", *arguments),
        ],
        cwd=prisma,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(prisma),
            "DATABASE_URL": url,
            "CHECKPOINT_DISABLE": "1",
            "PRISMA_QUERY_ENGINE_LIBRARY": engine,
            "PRISMA_SCHEMA_ENGINE_BINARY": engine,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_real_migrate_deploy_applies_what_was_mended(prisma: Path, postgres_url: str) -> None:
    project = Project(prisma, postgres_url)
    (project.migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')
    (prisma / "prisma" / "schema.prisma").write_text(DATASOURCE)
    project.migration(INIT, 'CREATE TABLE "User" ("id" INTEGER PRIMARY KEY, "name" TEXT NOT NULL);')
    first = run(prisma, project.url, "deploy")
    assert first.returncode == 0, first.stdout + first.stderr
    project.run("INSERT INTO \"User\" VALUES (1, 'Ada')")
    project.migration(BAD, 'ALTER TABLE "User" DROP COLUMN "name"; ALTER TABLE "User" ADD "x" INT;')
    project.checkpoint()
    before = project.catalog()
    assert run(prisma, project.url, "deploy").returncode == 0
    project.run('UPDATE "User" SET "x" = 5')
    # What the runbook says: it reverts nothing.
    assert "P3012" in run(prisma, project.url, "resolve", "--rolled-back", BAD).stderr
    project.revert(BAD)
    assert project.unlike(before) == []
    assert project.run('SELECT * FROM "User"') == [(1, "Ada")]
    text = project.migrations / BAD / "migration.sql"
    text.write_text('ALTER TABLE "User" ADD COLUMN "y" INTEGER;')
    mended = run(prisma, project.url, "deploy")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert BAD in mended.stdout
    assert project.run('SELECT "id", "name", "y" FROM "User"') == [(1, "Ada", None)]
    assert project.applied() == [INIT, BAD]


def test_one_that_the_real_one_failed_at_is_repaired(prisma: Path, postgres_url: str) -> None:
    project = Project(prisma, postgres_url)
    (project.migrations / "migration_lock.toml").write_text('provider = "postgresql"\n')
    (prisma / "prisma" / "schema.prisma").write_text(DATASOURCE)
    project.migration(INIT, 'CREATE TABLE "User" ("id" INTEGER PRIMARY KEY);')
    project.migration(BAD, 'ALTER TABLE "User" ADD "x" INT;\nSELECT 1/0;')
    failed = run(prisma, project.url, "deploy")
    assert failed.returncode != 0
    assert "P3009" in (stopped := run(prisma, project.url, "deploy")).stdout + stopped.stderr
    project.revert(BAD)
    text = project.migrations / BAD / "migration.sql"
    text.write_text('ALTER TABLE "User" ADD COLUMN "y" INTEGER;')
    assert run(prisma, project.url, "deploy").returncode == 0
    assert [column.name for column in project.catalog().tables[0].columns] == ["id", "y"]
