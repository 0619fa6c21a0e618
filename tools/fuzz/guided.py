"""Fuzzing guided by coverage: inputs that reach new lines of taly's are kept and changed further.

By atheris (https://github.com/google/atheris), where it installs; a process reads one kind of
document, as libFuzzer ends its process itself.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

SAVED = Path("build/fuzz")
LOG = "log"
BY_BYTES = 0.3
"""Share of the changes that know nothing of the document's form."""
DOCUMENTS = ("plan", "audit-export", "taly.toml", "column-hints")
"""What is read from elsewhere and parsed by taly itself, not by a library in C."""


def main() -> int:
    """Each kind of document for `--seconds`, two at a time; exit 1 when a reader broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="for each kind of document")
    parser.add_argument("--only", default="", help="one kind, in this process")
    parser.add_argument("--base", type=Path, help="an empty folder for it")
    given = parser.parse_args()
    if given.only:
        _fuzz(given.only, given.seconds, given.base)
    pairs = [DOCUMENTS[at : at + 2] for at in range(0, len(DOCUMENTS), 2)]
    wrong = [name for pair in pairs for name in _pair(pair, given.seconds)]
    print(f"guided by coverage: {len(DOCUMENTS)} readers, findings: {len(wrong)}")
    return 1 if wrong else 0


def _pair(names: Sequence[str], seconds: int) -> list[str]:
    """Those that broke, of some that run side by side."""
    SAVED.mkdir(parents=True, exist_ok=True)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="taly-fuzz-") as base:
        folders = {name: Path(base) / name for name in names}
        started = {name: _start(name, seconds, folder) for name, folder in folders.items()}
        for name, process in started.items():
            status = process.wait()
            text = (folders[name] / LOG).read_text("utf-8", "replace")
            done = [line for line in text.splitlines() if line.startswith("Done ")]
            print(f"{name}: {done[-1] if done else f'ended with {status}'}")
            if status or not done:
                print(text[-2000:])
                wrong.append(name)
    return wrong


def _start(name: str, seconds: int, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "tools.fuzz.guided", "--only", name]
    with (folder / LOG).open("wb") as out:
        return subprocess.Popen(
            [*command, f"--seconds={seconds}", f"--base={folder}"],
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def _fuzz(name: str, seconds: int, base: Path) -> None:
    """Read one kind of document until the time is over; does not return."""
    import atheris  # not on every platform

    with atheris.instrument_imports(include=["taly"]):
        from tools.fuzz.documents import documents
        from tools.fuzz.guard import Guard
        from tools.fuzz.mutate import mutated

    reader = next(one for one in documents(base) if one.name == name)
    corpus = base / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(reader.seeds):
        (corpus / str(number)).write_bytes(seed)
    guard, place = Guard(), base / "input"
    place.mkdir()

    def read(data: bytes) -> None:
        reader.prepare(data, place)
        wrong = guard.judge(lambda: reader.read(data, place))
        if wrong:
            raise AssertionError(wrong)

    def changed(data: bytes, longest: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < BY_BYTES:
            return bytes(atheris.Mutate(data, longest))
        return mutated(chance, data)[:longest]

    limits = [f"-max_total_time={seconds}", "-max_len=65536", "-handle_alrm=0", "-timeout=0"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-artifact_prefix={SAVED.resolve()}/guided-{name}-", str(corpus)],
        read,
        custom_mutator=changed,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
