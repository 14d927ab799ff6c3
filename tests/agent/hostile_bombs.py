"""The second half of the hostile suite: bombs, daemons, traps in the folder, and lies."""

from hostile_programs import hostile

BOMB = "bombs"
hostile(BOMB, "forks", "processes", "import os\nwhile True: os.fork()")
hostile(
    BOMB,
    "forks that swallow errors",
    "processes",
    """
    import os
    while True:
        try: os.fork()
        except OSError: pass
    """,
)
hostile(
    BOMB,
    "threads",
    "processes",
    """
    import threading, time
    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    """,
)
hostile(BOMB, "memory at once", "memory", "x = bytearray(8 << 30)")
hostile(BOMB, "memory bit by bit", "memory", "x = []\nwhile True: x.append(bytearray(1 << 20))")
hostile(
    BOMB,
    "memory of many children",
    "memory",
    """
    import os, time
    for _ in range(12):
        if not os.fork():
            x = bytearray(60 << 20)
            for i in range(0, len(x), 4096): x[i] = 1
            time.sleep(30)
    time.sleep(30)
    """,
)
hostile(
    BOMB,
    "shared memory",
    "memory",
    """
    import mmap
    x = [mmap.mmap(-1, 64 << 20) for _ in range(64)]
    for m in x:
        for i in range(0, len(m), 4096): m[i] = 1
    """,
)
hostile(
    BOMB,
    "shared memory that no process is charged for",
    "memory",
    """
    import mmap
    m = mmap.mmap(-1, 600 << 20)
    for i in range(0, len(m), 8 << 20):
        m[i : i + (8 << 20)] = b"x" * (8 << 20)
        m.madvise(mmap.MADV_DONTNEED, i, 8 << 20)
    print("ESCAPED")
    """,
)
hostile(
    BOMB,
    "shared memory by /dev/zero",
    "error",
    """
    import mmap, os
    m = mmap.mmap(os.open("/dev/zero", os.O_RDWR), 1 << 30); print("ESCAPED")
    """,
)
hostile(
    BOMB,
    "watches that all programs of a user share",
    "blocked",
    """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.inotify_init() < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    print("ESCAPED")
    """,
)
hostile(
    BOMB,
    "memory without a name",
    "blocked",
    """
    import os
    f = os.memfd_create("x"); print("ESCAPED")
    """,
)
hostile(
    BOMB,
    "shared memory of System V",
    "blocked",
    """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(0, 1 << 30, 0o1600) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    print("ESCAPED")
    """,
)
for where in ("/work", "/tmp", "/dev/shm"):
    hostile(
        BOMB,
        f"many large files in {where}",
        "files",
        f"""
        for i in range(1000):
            with open(f"{where}/{{i}}", "wb") as f: f.write(bytes(4 << 20))
        """,
    )
hostile(BOMB, "one large file", "files", 'open("x", "wb").write(bytes(64 << 20))')
hostile(BOMB, "a file with holes", "files", 'open("x", "wb").truncate(1 << 40)')
hostile(
    BOMB,
    "disk taken in advance",
    "files",
    'import os; os.posix_fallocate(os.open("x", 66), 0, 1 << 30)',
)
hostile(
    BOMB,
    "many files",
    "files",
    """
    i = 0
    while True: open(str(i), "w").close(); i += 1
    """,
)
hostile(
    BOMB,
    "folders within folders",
    "files",
    """
    import os
    while True: os.mkdir("d"); os.chdir("d")
    """,
    keep=("*",),
)
hostile(BOMB, "many open files", "error", "x = []\nwhile True: x.append(open('/dev/null'))")
hostile(BOMB, "standard output", "output", "while True: print('x' * 1000)")
hostile(
    BOMB, "standard error", "output", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)"
)
hostile(
    BOMB,
    "output of children",
    "output",
    """
    import os
    for _ in range(4): os.fork()
    while True: os.write(1, b"x" * 100)
    """,
)
hostile(BOMB, "an endless loop", "timeout", "while True: pass", timeout_s=0.3)
hostile(BOMB, "an endless sleep", "timeout", "import time; time.sleep(1e6)", timeout_s=0.3)
hostile(BOMB, "processor time", "timeout", "while True: pass", timeout_s=8, cpu_s=1, slow=True)
hostile(
    BOMB,
    "a pattern that backtracks",
    "timeout",
    "import re; re.match('(a+)+$', 'a' * 40 + 'b')",
    timeout_s=0.3,
)
hostile(BOMB, "a number too long", "timeout memory", "x = 7 ** 7 ** 10", timeout_s=0.3)
hostile(
    BOMB,
    "recursion without bound",
    "memory crashed timeout",
    """
    import sys
    sys.setrecursionlimit(2**30)
    def f(n): return f(n + 1)
    f(0)
    """,
    timeout_s=2,
    slow=True,
)
hostile(BOMB, "recursion", "error", "def f(): f()\nf()")
hostile(BOMB, "an answer never given", "error", "input()")

DAEMON = "background"
hostile(
    DAEMON,
    "a daemon by double fork",
    "ok",
    """
    import os, time
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(60)
        os._exit(0)
    """,
)
hostile(
    DAEMON,
    "children that hold its output open",
    "ok",
    """
    import os, signal, time
    for _ in range(5):
        if not os.fork():
            signal.signal(15, signal.SIG_IGN); os.setsid(); time.sleep(60)
    """,
)
hostile(
    DAEMON,
    "output closed, and on",
    "timeout",
    """
    import os, time
    os.close(0); os.close(1); os.close(2); time.sleep(60)
    """,
    timeout_s=0.3,
)
hostile(
    DAEMON, "a shell in the background", "ok", "import os; os.system('nohup sleep 60 & disown')"
)

hostile(
    DAEMON,
    "a child that flees from parent to parent",
    "ok",
    """
    import os
    while True:
        if os.fork(): os._exit(0)
    """,
)

FOLDER = "traps in the folder"
hostile(
    FOLDER,
    "a link to a file of the user",
    "ok",
    'import os; os.symlink(CANARY + "/secret.txt", "a.txt")',
    keep=("*",),
)
hostile(
    FOLDER,
    "a link to a folder of the user",
    "ok",
    'import os; os.symlink(CANARY, "a")',
    keep=("*",),
)
hostile(
    FOLDER,
    "a link in place of its program",
    "ok",
    'import os; os.remove(__file__); os.symlink(CANARY + "/secret.txt", __file__)',
    keep=("*",),
)
hostile(
    FOLDER,
    "a link to all",
    "ok",
    'import os; os.symlink("/", "root"); os.symlink("/proc/self/root", "r2")',
    keep=("*",),
)
hostile(FOLDER, "a pipe that is never written", "ok", 'import os; os.mkfifo("a.txt")', keep=("*",))
hostile(
    FOLDER,
    "a socket",
    "ok",
    'import socket; socket.socket(socket.AF_UNIX).bind("a.txt")',
    keep=("*",),
)
hostile(
    FOLDER,
    "a hard link to the system's files",
    "blocked error",
    'import os; os.link("/usr/bin/env", "a.txt"); print("ESCAPED")',
    keep=("*",),
)
hostile(
    FOLDER,
    "a hard link to /etc/passwd",
    "blocked error",
    'import os; os.link("/etc/passwd", "a.txt"); print("ESCAPED")',
    keep=("*",),
)
hostile(
    FOLDER,
    "names no terminal should show",
    "ok",
    r'open(b"\xff\x1b[2J\n.txt", "w").write("x")',
    keep=("*",),
)
hostile(
    FOLDER,
    "a folder nobody may enter",
    "ok",
    'import os; open("a.txt", "w").write("x"); os.chmod("/work", 0)',
    keep=("*",),
)
hostile(
    FOLDER,
    "more kept than there is room for",
    "ok",
    """
    for i in range(100):
        with open(f"{i}.bin", "wb") as f: f.truncate(8 << 20)
    """,
    keep=("*",),
)
hostile(
    FOLDER,
    "its folder removed",
    "ok error blocked",
    'import shutil; shutil.rmtree("/work", ignore_errors=True)',
    keep=("*",),
)

LIE = "lies"
hostile(
    LIE,
    "a verdict of its own",
    "error",
    """
    import json, sys
    print(json.dumps({"status": "ok", "exit_code": 0, "level": "full"})); sys.exit(3)
    """,
)
hostile(
    LIE,
    "an exit code told to bubblewrap",
    "error",
    """
    import os, sys
    for number in range(3, 256):
        try: os.write(number, b'{"exit-code": 0}\\n'); print("ESCAPED")
        except OSError: pass
    sys.exit(3)
    """,
)
hostile(LIE, "a text as exit status", "error", 'import sys; sys.exit("all fine")')
hostile(
    LIE,
    "another program in its place",
    "error",
    'import os; os.execv("/bin/sh", ["sh", "-c", "exit 7"])',
)
hostile(
    LIE,
    "broken UTF-8 and zeros",
    "ok",
    r'import os; os.write(1, b"\xff\xfe\x00\xc3(\xed\xa0\x80\n")',
)
hostile(LIE, "orders to the terminal", "ok", r'print("\x1b]0;title\x07\x1b[2J\x1b[?1049h\x1b[6n")')
hostile(
    LIE,
    "another language and encoding",
    "ok",
    r"""
    import os, sys
    if "LC_ALL" not in os.environ:
        changed = {**os.environ, "LC_ALL": "xx_YY.broken", "PYTHONIOENCODING": "utf-16"}
        os.execve(sys.executable, [sys.executable, __file__], changed)
    print("\u00e9\u4e2d")
    """,
)
hostile(
    LIE,
    "a library of its own first",
    "ok",
    """
    import os
    open("evil.so", "wb").write(b"\\x7fELF" + bytes(100))
    os.execve("/bin/true", ["true"], {"LD_PRELOAD": "/work/evil.so", "LD_LIBRARY_PATH": "/work"})
    """,
)
