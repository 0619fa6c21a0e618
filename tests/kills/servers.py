"""The store's PostgreSQL, which is restarted under a run."""

import os
import signal
import time

import psycopg

from taly.sandbox.server import Server

FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
"""`pg_ctl stop -m fast` and `-m immediate`: what they send to the postmaster."""


def stopped(server: Server, how: signal.Signals) -> None:
    """Stop it and keep its files."""
    os.kill(server.postmaster_pid, how)
    process = server._process
    assert process is not None
    process.wait(30)
    assert process.stdin is not None
    process.stdin.close()


def started(server: Server) -> None:
    """Start it again, on the same files and port."""
    server._spawn()
    assert server._wait_ready()


def cut(url: str) -> int:
    """pg_terminate_backend for all connections of `taly`'s; how many there were."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and datname = current_database()"
        ).fetchall()
    return len(found)


def cut_now_and_then(url: str, pauses: list[float]) -> int:
    """Cut after each of these real seconds; how many connections were cut."""
    total = 0
    for pause_s in pauses:
        time.sleep(pause_s)
        total += cut(url)
    return total
