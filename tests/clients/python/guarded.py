"""A process of ours with guard pages in its memory, as glibc has them in its stacks: what is behind them is found.

MADV_GUARD_INSTALL (madvise(2), Linux 6.13) makes pages within a mapping unreadable, and no line of `/proc/PID/maps` tells.
"""

from __future__ import annotations

import subprocess
import sys

from client import check, control
from memory import GUARD_PAGES_MAX, Memory, mark

#: Behind guards at the beginning of the mapping and in the middle of it.
GUARDS, MARKED = (0, 50), {40: "guarded_first", 60: "guarded_middle"}
PAGES = 64
#: What it reads goes where it is to be, and nowhere else in its memory.
CHILD = """
import mmap, os, sys
size, length = mmap.PAGESIZE, int(sys.argv[1])
pages, guards, marked = (list(map(int, words.split(","))) for words in sys.argv[2:5])
memory = mmap.mmap(-1, pages[0] * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(pages[0]):
    memory[page * size] = 1
try:
    for page in guards:
        memory.madvise(102, page * size, size)
except OSError:
    print("none", flush=True)
    sys.exit()
for page in marked:
    os.readv(0, [memoryview(memory)[page * size : page * size + length]])
print("there", flush=True)
sys.stdin.read()
"""


def child(pages: int, guards: tuple[int, ...]) -> subprocess.Popen[bytes] | None:
    """One with so many pages and these guards; `None` if the kernel knows none."""
    longest = max(len(mark(name)) for name in MARKED.values())
    words = (str(longest), str(pages), *(",".join(map(str, it)) for it in (guards, MARKED)))
    process = subprocess.Popen([sys.executable, "-c", CHILD, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for name in MARKED.values():
        process.stdin.write(mark(name).ljust(longest).encode())
    process.stdin.flush()
    said = process.stdout.readline()
    assert said in (b"there\n", b"none\n"), f"the child says {said!r}"
    return process if said == b"there\n" else None


def found_behind_guards() -> None:
    if (process := child(PAGES, GUARDS)) is None:
        check(True, "this kernel has no guard pages within a mapping")
        return
    with process:
        scan = Memory(process.pid).scan()
        found = {name: scan.found[name] for name in MARKED.values()}
    control(all(found.values()), f"what is behind guard pages is found: {found}")
    with child(PAGES + GUARD_PAGES_MAX, (0, *range(PAGES, PAGES + GUARD_PAGES_MAX))) as process:
        try:
            Memory(process.pid).scan()
        except AssertionError as error:
            control(True, f"and what cannot be read is said: {error}")
        else:
            raise AssertionError(f"nobody says that {GUARD_PAGES_MAX + 1} pages cannot be read")
