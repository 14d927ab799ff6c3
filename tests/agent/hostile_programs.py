"""Programs that try to get out of the sandbox, to stay in it, or to use more than they may.

Each says ESCAPED on standard output if it got what it must not get; what it may not touch (a file,
a socket, the runner) is put in for CANARY, SECRET, PORT and SOCKET. An error that it does not catch
is meant: the verdict must name it.
"""

from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    if libc.syscall(number, *[a if isinstance(a, bytes) else ctypes.c_long(a) for a in args]) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    print("ESCAPED: call", number, "went through")
"""


@dataclass(frozen=True)
class Hostile:
    """One program.

    Attributes:
        name: what it tries.
        group: heading of the table.
        program: its text, with CANARY, SECRET, PORT and SOCKET to be put in.
        expected: verdicts that tell it as what it was; the first as root, others as a user.
        limits: settings that differ from the suite's.
        keep: patterns of files that are taken from its folder.
        slow: more than two seconds.
        x86: machine code of that processor.
    """

    name: str
    group: str
    program: str
    expected: tuple[str, ...]
    limits: dict[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    slow: bool = False
    x86: bool = False


SUITE: list[Hostile] = []


def hostile(group: str, name: str, expected: str, program: str, **more: Any) -> None:
    """Add a program to the suite; `expected` are verdicts, parted by spaces."""
    limits = {key: more.pop(key) for key in list(more) if key not in ("keep", "slow", "x86")}
    SUITE.append(Hostile(name, group, dedent(program), tuple(expected.split()), limits, **more))


def call(group: str, name: str, expected: str, arguments: str, **more: Any) -> None:
    """Add a program that makes one system call by number (x86-64's)."""
    hostile(group, name, expected, f"{CALL}\ncall({arguments})", x86=True, **more)


# --- network ---------------------------------------------------------------------------------

NET = "network"
hostile(
    NET,
    "TCP to the world",
    "blocked",
    """
    import socket
    socket.create_connection(("192.0.2.1", 80), 2); print("ESCAPED")
    """,
)
hostile(
    NET,
    "UDP to the world",
    "blocked",
    """
    import socket
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))
    print("ESCAPED")
    """,
)
hostile(
    NET,
    "IPv6 to the world",
    "blocked",
    """
    import socket
    socket.create_connection(("2001:db8::1", 80), 2); print("ESCAPED")
    """,
)
hostile(
    NET,
    "a name looked up",
    "blocked",
    """
    import socket
    print("ESCAPED", socket.getaddrinfo("example.com", 80))
    """,
)
hostile(
    NET,
    "a port of the host's loopback",
    "error",
    """
    import socket
    socket.create_connection(("127.0.0.1", PORT), 2).send(b"hello"); print("ESCAPED")
    """,
)
hostile(
    NET,
    "an abstract socket of the host",
    "error",
    """
    import socket
    s = socket.socket(socket.AF_UNIX); s.connect("\\0" + SOCKET); print("ESCAPED")
    """,
)
hostile(
    NET,
    "a socket file of the host",
    "error",
    """
    import socket
    s = socket.socket(socket.AF_UNIX); s.connect(CANARY + "/sock"); print("ESCAPED")
    """,
)
hostile(
    NET,
    "a listener on all addresses",
    "ok",
    """
    import socket, time
    s = socket.socket(); s.bind(("0.0.0.0", PORT)); s.listen(); time.sleep(0.2)
    """,
)
for family, arguments in (
    ("raw", "socket.AF_INET, socket.SOCK_RAW, 1"),
    ("packet", "17, socket.SOCK_RAW, 0"),
    ("netlink", "16, socket.SOCK_RAW, 0"),
    ("vsock", "40, socket.SOCK_STREAM, 0"),
    ("kernel crypto", "38, socket.SOCK_SEQPACKET, 0"),
    ("SCTP", "2, socket.SOCK_STREAM, 132"),
):
    hostile(
        NET,
        f"a {family} socket",
        "blocked",
        f"""
        import socket
        socket.socket({arguments}); print("ESCAPED")
        """,
    )
hostile(
    NET,
    "a pair of cluster sockets",
    "blocked",
    """
    import socket
    socket.socketpair(30, socket.SOCK_SEQPACKET, 0); print("ESCAPED")
    """,
)

# --- reading ---------------------------------------------------------------------------------

READ = "reading"
hostile(
    READ, "a file of the user", "error", 'print("ESCAPED", open(CANARY + "/secret.txt").read())'
)
hostile(
    READ,
    "the same by ../..",
    "error",
    'print("ESCAPED", open("../" * 30 + CANARY + "/secret.txt").read())',
)
hostile(READ, "/etc/shadow", "error", 'print("ESCAPED", open("/etc/shadow").read())')
hostile(
    READ,
    "every file name that can be seen",
    "ok",
    """
    import os
    for top in ("/root", "/home", "/tmp", "/var", "/mnt", "/srv", "/run", "/etc", "/work", "/opt"):
        for folder, below, files in os.walk(top):
            below[:] = [b for b in below if b not in ("site-packages", "lib")]
            print(folder, files if len(files) < 50 else len(files))
            if "authorized_keys" in files or ".bash_history" in files: print("ESCAPED")
    """,
    max_output_bytes=10_000_000,
)
hostile(
    READ,
    "the host's /tmp",
    "ok",
    """
    import os
    if os.listdir("/tmp") or os.listdir("/dev/shm"): print("ESCAPED", os.listdir("/tmp"))
    """,
)
hostile(
    READ,
    "environments of all processes",
    "blocked ok",
    """
    import glob
    for name in sorted(glob.glob("/proc/[0-9]*/environ")):
        print(open(name).read())
    """,
)
hostile(
    READ,
    "the host through /proc/1/root",
    "blocked error",
    """
    print("ESCAPED", open("/proc/1/root" + CANARY + "/secret.txt").read())
    """,
)
hostile(
    READ,
    "the host through /proc/1/cwd",
    "blocked error",
    """
    import os
    os.chdir("/proc/1/cwd"); os.chdir("..")
    print("ESCAPED", open("." + CANARY + "/secret.txt").read())
    """,
)
hostile(READ, "memory of the first process", "blocked error", 'open("/proc/1/mem", "rb").read(1)')
hostile(
    READ,
    "the kernel's memory",
    "blocked error",
    'open("/proc/kcore", "rb").read(1); print("ESCAPED")',
)
hostile(READ, "the machine's memory", "error", 'open("/dev/mem", "rb").read(1); print("ESCAPED")')
hostile(
    READ,
    "the host's disk",
    "error",
    """
    import glob, os
    kinds = ("sd*", "vd*", "nvme*", "dm-*", "loop*")
    found = [device for kind in kinds for device in glob.glob("/dev/" + kind)]
    if found: print("ESCAPED", found)
    open("/dev/vda", "rb")
    """,
)
call(READ, "the kernel's log", "blocked", "103, 3, b'x' * 100, 100")
hostile(
    READ,
    "descriptors left open",
    "ok",
    """
    import os
    for number in range(3, 256):
        try: print("ESCAPED", number, os.fstat(number), os.readlink(f"/proc/self/fd/{number}"))
        except OSError: pass
    """,
)
hostile(
    READ,
    "processes of the host",
    "ok",
    """
    import os
    pids = [int(n) for n in os.listdir("/proc") if n.isdigit()]
    if len(pids) > 3: print("ESCAPED", pids)
    """,
)

# --- writing ---------------------------------------------------------------------------------

WRITE = "writing"
hostile(
    WRITE,
    "a file of the user, overwritten",
    "error",
    'open(CANARY + "/secret.txt", "w"); print("ESCAPED")',
)
for target in ("/evil", "/usr/bin/evil", "/etc/passwd", "/packages/0/evil.pth", "/dev/evil"):
    hostile(WRITE, target, "blocked", f'open("{target}", "a").write("x"); print("ESCAPED")')
hostile(
    WRITE,
    "the Python library",
    "blocked",
    'import os; open(os.__file__, "a").write("x"); print("ESCAPED")',
)
hostile(
    WRITE,
    "the running program, /proc/self/exe",
    "error blocked",
    'open("/proc/self/exe", "r+b"); print("ESCAPED")',
)
for target in ("sys/kernel/core_pattern", "sysrq-trigger", "sys/kernel/randomize_va_space"):
    hostile(
        WRITE,
        f"/proc/{target}",
        "blocked error",
        f'import os; os.write(os.open("/proc/{target}", 1), b"1"); print("ESCAPED")',
    )
hostile(
    WRITE,
    "its user mapping, /proc/self/uid_map",
    "blocked",
    'import os; os.write(os.open("/proc/self/uid_map", 1), b"0 0 1"); print("ESCAPED")',
)
hostile(
    WRITE,
    "its own out-of-memory score",
    "blocked",
    'import os; os.write(os.open("/proc/self/oom_score_adj", 1), b"-1000"); print("ESCAPED")',
)
hostile(
    WRITE, "control groups", "error", 'open("/sys/fs/cgroup/cgroup.procs", "w"); print("ESCAPED")'
)
hostile(
    WRITE,
    "a disk device of its own making",
    "blocked",
    """
    import os, stat
    os.mknod("disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0)); print("ESCAPED")
    """,
)

# --- privileges ------------------------------------------------------------------------------

POWER = "privileges"
hostile(POWER, "becoming root", "blocked error", 'import os; os.setuid(0); print("ESCAPED")')
hostile(
    POWER,
    "a set-user-id shell of its own",
    "ok",
    """
    import os, shutil, subprocess
    shutil.copy("/bin/sh", "sh"); os.chmod("sh", 0o6755)
    if "uid=0" in subprocess.run(["./sh", "-p", "-c", "id"], capture_output=True, text=True).stdout:
        print("ESCAPED")
    """,
)
hostile(
    POWER,
    "the system's set-user-id programs",
    "ok",
    """
    import subprocess
    mount = ["mount", "-t", "tmpfs", "x", "/tmp"]
    for argv in (["su", "-c", "id"], mount, ["passwd", "-d", "root"]):
        done = subprocess.run(argv, capture_output=True, text=True, input="")
        if done.returncode == 0 or "uid=0" in done.stdout: print("ESCAPED", argv)
    """,
)
hostile(
    POWER,
    "raising its limits",
    "error",
    """
    import resource
    resource.setrlimit(resource.RLIMIT_NPROC, (resource.RLIM_INFINITY,) * 2); print("ESCAPED")
    """,
)
hostile(POWER, "a better priority", "blocked", 'import os; os.nice(-5); print("ESCAPED")')
hostile(
    POWER,
    "real-time scheduling",
    "blocked",
    'import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)); print("ESCAPED")',
)
call(POWER, "mount", "blocked", "165, b'x', b'/tmp', b'tmpfs', 0, 0")
call(POWER, "unmount", "blocked", "166, b'/work', 2")
call(POWER, "the new mount calls", "blocked", "430, b'tmpfs', 0")
call(POWER, "pivot_root", "blocked", "155, b'/work', b'/work'")
hostile(POWER, "chroot", "blocked", 'import os; os.chroot("/tmp"); print("ESCAPED")')
call(POWER, "a user namespace by unshare", "blocked", "272, 0x10000000")
call(POWER, "a user namespace by clone", "blocked", "56, 0x10000000 | 17, 0, 0, 0, 0")
call(POWER, "a user namespace by clone3", "blocked", "435, b'\\0' * 64, 64")
call(POWER, "another's namespace by setns", "blocked", "308, 0, 0")
call(POWER, "a debugger on the first process", "blocked", "101, 16, 1, 0, 0")
call(POWER, "another process's memory", "blocked", "310, 1, 0, 0, 0, 0, 0")
call(POWER, "another process's descriptor", "blocked", "438, 0, 0, 0")
call(POWER, "a BPF program", "blocked", "321, 0, b'\\0' * 64, 64")
call(POWER, "performance counters", "blocked", "298, b'\\0' * 128, 0, -1, -1, 0")
call(POWER, "page faults handled by itself", "blocked", "323, 1")
call(POWER, "io_uring", "blocked", "425, 8, b'\\0' * 128")
call(POWER, "the keyring", "blocked", "250, 0, -3, 0, 0, 0")
call(POWER, "a kernel module", "blocked", "175, b'x', 1, b''")
call(POWER, "another kernel", "blocked", "246, 0, 0, 0, 0")
call(POWER, "a restart of the machine", "blocked", "169, 0xfee1dead, 672274793, 0x1234567, 0")
call(POWER, "a file by its handle", "blocked", "304, -100, b'\\0' * 64, 0")
call(POWER, "a call of a later kernel", "blocked", "500, 0")
call(POWER, "ports of the processor", "blocked", "172, 3")
hostile(
    POWER,
    "the clock",
    "blocked",
    "import time; time.clock_settime(time.CLOCK_REALTIME, 0); print('ESCAPED')",
)
hostile(
    POWER, "the host's name", "blocked", 'import socket; socket.sethostname("x"); print("ESCAPED")'
)
hostile(
    POWER,
    "32-bit system calls",
    "blocked",
    """
    import ctypes, mmap
    code = bytes.fromhex("53b814000000cd805bc3")  # getpid by int 0x80
    prot = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    print("ESCAPED", function())
    """,
    x86=True,
)
hostile(
    POWER,
    "typing into the terminal",
    "blocked",
    """
    import fcntl
    for c in b"id\\n": fcntl.ioctl(0, 0x5412, bytes([c])); print("ESCAPED")
    """,
)

# --- signals ---------------------------------------------------------------------------------

SIGNAL = "signals"
hostile(SIGNAL, "kill -9 -1", "error ok", "import os; os.kill(-1, 9)")
hostile(SIGNAL, "kill -9 1", "blocked ok", "import os; os.kill(1, 9)")
hostile(
    SIGNAL,
    "every signal to its parent",
    "blocked ok",
    """
    import os, signal
    for number in (15, 1, 10, 12, 19, 9): os.kill(os.getppid(), number)
    """,
)
hostile(
    SIGNAL,
    "signals to every number",
    "ok",
    """
    import os
    for pid in [*range(3, 3000)]:
        try: os.kill(pid, 10); print("ESCAPED" if pid != os.getpid() else "")
        except OSError: pass
    """,
)
hostile(SIGNAL, "kill -9 on itself", "crashed", "import os; os.kill(os.getpid(), 9)")
hostile(SIGNAL, "a null pointer", "crashed", "import ctypes; ctypes.string_at(0)")
hostile(SIGNAL, "abort", "crashed", "import os; os.abort()")
hostile(
    SIGNAL,
    "deaf to SIGTERM, for ever",
    "timeout",
    """
    import signal
    for number in range(1, 32):
        try: signal.signal(number, signal.SIG_IGN)
        except OSError: pass
    while True: pass
    """,
    timeout_s=0.3,
)
hostile(SIGNAL, "stops itself", "timeout", "import os; os.kill(os.getpid(), 19)", timeout_s=0.3)
