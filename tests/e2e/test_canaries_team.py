"""Canaries where a team works: workers, followers, the store, the bucket, the sandbox's log.

The same secrets, planted as in test_canaries.py, and not one byte of them anywhere.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from taly.engine.store import open_store
from taly.errors import ExitCode
from taly.sandbox.running import LOG
from tests.e2e.conftest import Sandbox, until
from tests.e2e.test_canaries import SPEED, Outputs, hits, planted
from tests.e2e.test_shared import BUCKET, everything, s3

PASSWORD = "SANDBOXSECRETstore"


def with_password(url: str) -> str:
    """The store's URL for a user of our own, whose password is a canary."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS runs")  # the database is empty: it owns nothing
        connection.execute(f"CREATE ROLE runs LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    head, _, place = url.rpartition("@")
    assert head.startswith("postgresql://")
    return f"postgresql://runs:{PASSWORD}@{place}"


def in_store(url: str) -> list[str]:
    """Hits in every row of every table of taly's and DBOS's."""
    found = "select schemaname, tablename from pg_tables where schemaname in ('taly', 'dbos')"
    with psycopg.connect(url) as connection:
        tables = connection.execute(found).fetchall()
        assert ("taly", "event") in tables
        texts = [
            (table[1], str(row[0]))
            for table in tables
            for row in connection.execute(
                sql.SQL("select to_json(t)::text from {} t").format(sql.Identifier(*table))
            )
        ]
    assert len(texts) > 20
    return [one for table, text in texts for one in hits(table, text.encode())]


def test_no_worker_follower_store_or_bucket_holds_a_secret(
    sandbox: Callable[..., Sandbox],
    postgres_url: str,
    tmp_path: Path,
) -> None:
    box = sandbox("taly-small", SPEED)
    outputs = Outputs()
    environ = planted(box, tmp_path)
    store = with_password(postgres_url)
    box.environ = {name: value for name, value in environ.items() if name != "PATH"}
    box.environ["TALY_STORE"] = store

    def here(*arguments: str) -> str:
        done = box.taly(*arguments)
        outputs.keep(" ".join(arguments), done.stdout, done.stderr)
        assert done.returncode == ExitCode.OK, done.stderr
        return done.stdout

    log = tmp_path / "worker.log"
    run_id = by_a_worker(box, log, postgres_url, here)
    here("follow", run_id, "--json")
    here("workers", "--json")
    here("show", run_id)
    here("audit", "export")
    here("metrics", "--format", "prometheus")
    here("rescue", "list", "--json")
    assert in_store(postgres_url) == []
    text = log.read_bytes()
    assert b"apprunner" in text, "no debug log"
    assert hits("worker's log", text) == []

    del box.environ["TALY_STORE"]
    s3(box).create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    toml = box.directory / "taly.toml"
    toml.write_text(f'shared = "s3://{BUCKET}/taly"\n{toml.read_text()}')
    token = environ["AWS_SECRET_ACCESS_KEY"]
    here("mark", "R1", "bad", "--why", f"its token is {token}")
    here("record", "--label", token, "--commit", token)
    here("checkpoint", "--label", token, "--no-trial")
    here("rollback", "--to", "R2", "--yes", "--json")
    here("audit", "verify", "--json")
    here("checkpoint", "list", "--json")
    said = dict(everything(box))
    assert len([key for key in said if "/trails/" in key or "/checkpoints/" in key]) >= 3
    assert [one for key, body in said.items() for one in hits(key, body.encode())] == []
    assert outputs.hits() == []
    assert hits(LOG, (box.directory / LOG).read_bytes()) == []


def by_a_worker(box: Sandbox, log: Path, store: str, here: Callable[..., Any]) -> str:
    """A rollback through a worker that is then told to end; its log is in `log`."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "taly", "worker", "--name", "w", "--config", "taly.toml"],
            cwd=box.directory,
            env=box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        queue = open_store(store)
        until(lambda: any(one.is_alive for one in queue.workers()), what="a worker lives")
        queue.close()
        done = json.loads(here("rollback", "--remote", "--yes", "--json"))
    finally:
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == ExitCode.OK
    return str(done["run"])
