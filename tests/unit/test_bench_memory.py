"""What a benchmark says of a process's memory is that process's own."""

import subprocess
import sys

ASK = "from bench.restored import peak_mib; print(peak_mib())"
MINE_MIB = 256


def test_the_memory_of_whoever_started_it_is_not_counted() -> None:
    """A system's `ru_maxrss` begins with it."""
    mine = bytearray(b"x" * (MINE_MIB << 20))
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert len(mine) == MINE_MIB << 20
    assert 10 < float(done.stdout) < MINE_MIB
