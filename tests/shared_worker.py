"""A process of its own that competes for a lock in S3.

python -m tests.shared_worker AWS_ENDPOINT_URL FOLDER NAME sections|rounds COUNT
"""

import os
import sys
import time
from pathlib import Path

from taly.engine.shared.holding import Holding
from taly.engine.shared.lock import EnvironmentLock
from taly.engine.shared.s3 import S3Objects
from taly.errors import EnvironmentLocked


def wanted(name: str, run: str, lease_s: float) -> Holding:
    """The lock for this process, which nobody can look at: it is on a machine of its own."""
    return Holding(
        state="held",
        run=run,
        purpose="rollback",
        digest="d",
        by=name,
        host=name,
        machine=name,
        pid=os.getpid(),
        started="",
        since="2026-01-01T12:00:00+00:00",
        lease_s=lease_s,
        fence=0,
        beat=0,
        nonce="",
    )


def sections(objects: S3Objects, folder: Path, name: str, count: int) -> None:
    """Have the lock that many times; the file `inside` would break where two have it."""
    lock = EnvironmentLock(objects, "sections")
    for number in range(count):
        while True:
            try:
                held = lock.take(wanted(name, f"run-{number:06}", 3.0))
                break
            except EnvironmentLocked:
                continue
        os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
        lock.renew()
        with (folder / f"fences-{name}").open("a") as file:
            file.write(f"{held.fence}\n")
        (folder / "inside").unlink()
        lock.free()


def rounds(objects: S3Objects, folder: Path, name: str, count: int) -> None:
    """Reach for a fresh lock at the same moment as the other, that many times."""
    for number in range(count):
        lock = EnvironmentLock(objects, f"round-{number}")
        (folder / f"ready-{number}-{name}").touch()
        while len(list(folder.glob(f"ready-{number}-*"))) < 2:
            time.sleep(0.001)
        try:
            lock.take(wanted(name, "run-000001", 1.0))
        except EnvironmentLocked as refusal:
            (folder / f"lost-{number}-{name}").write_text(refusal.message)
            continue
        (folder / f"won-{number}-{name}").touch()
        while not list(folder.glob(f"lost-{number}-*")):
            lock.renew()
            time.sleep(0.02)


def main() -> None:
    """Compete."""
    url, folder, name, how, count = sys.argv[1:]
    environ = {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIASANDBOX",
        "AWS_SECRET_ACCESS_KEY": "SANDBOXSECRET",
    }
    objects = S3Objects(environ, "s3://team/taly")
    {"sections": sections, "rounds": rounds}[how](objects, Path(folder), name, int(count))


if __name__ == "__main__":
    main()
