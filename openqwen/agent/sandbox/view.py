"""What a program in the sandbox sees: read-only system and Python, empty writable folders, no more.

/usr and a few files of /etc, the Python installation, installed packages under /packages, its own
/proc and /dev, and three folders in memory of bounded size: /work (or a folder of the host), /tmp
and /dev/shm. Nothing of any home, no socket, no device of the host.
"""

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openqwen.agent.sandbox.call_filter import call_filter, memory_file
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.limits import USER_INSIDE

WORK = "/work"
PYTHON = "/python/bin/python"
SHARED_MEMORY_MB = 64
MIB = 2**20
ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "mime.types",
    "fonts",
)
PACKAGE_FOLDERS = ("site-packages", "dist-packages")
LIBRARY = f"/python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def variables(*, home: str = "/tmp", python: str = PYTHON) -> dict[str, str]:
    """Return the whole environment of a sandboxed program; nothing of ours is handed on."""
    return {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def view_arguments(
    config: SandboxConfig, *, user: int | None, folder: Path | None, marker: str
) -> tuple[list[str], list[int]]:
    """Return bubblewrap's arguments and the descriptors that they name, which are ours to close.

    Args:
        config: sizes and level.
        user: the id inside, for a sandbox started by root; None makes a user namespace.
        folder: a folder of the host to be /work; None gives an empty one in memory.
        marker: name of an empty folder at the root, by which the finished view is known.
    """
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--hostname", "sandbox"]
    if user is None:
        arguments += ["--unshare-user", "--uid", str(USER_INSIDE), "--gid", str(USER_INSIDE)]
        arguments += ["--cap-drop", "ALL"]
    arguments += ["--new-session", "--die-with-parent", "--clearenv"]
    for name, value in variables().items():
        arguments += ["--setenv", name, value]
    arguments += _open_folders(LIBRARY, "/python/bin", "/packages", "/etc", *_python_parents())
    arguments += _system()
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    # /dev/full gives zeros, too, but can't be mapped as memory that no process is charged for
    arguments += ["--dev-bind", "/dev/full", "/dev/zero", "--remount-ro", "/dev"]
    arguments += _memory_folder("/dev/shm", min(SHARED_MEMORY_MB, config.memory_mb))
    arguments += _memory_folder("/tmp", config.disk_mb)
    if folder is None:
        arguments += _memory_folder(WORK, config.disk_mb)
    else:
        arguments += ["--bind", str(folder), WORK]
    arguments += _python()
    handles: list[int] = []
    for name, text in _small_files(USER_INSIDE if user is None else user).items():
        handles.append(memory_file(text.encode()))
        arguments += ["--perms", "0644", "--file", str(handles[-1]), name]
    arguments += ["--dir", f"/{marker}", "--remount-ro", "/", "--chdir", WORK]
    if config.level == "full":
        handles.append(memory_file(call_filter()))
        arguments += ["--seccomp", str(handles[-1])]
    return arguments, handles


def _small_files(number: int) -> dict[str, str]:
    """Return the files that are made for each sandbox, by name; `number` is its user's id."""
    home = Path(os.path.realpath(sys.executable)).parent
    packages = [f"/packages/{i}" for i in range(len(package_folders()))]
    return {
        "/etc/passwd": f"sandbox:x:{number}:{number}:sandbox:/tmp:/bin/sh\n",
        "/etc/group": f"sandbox:x:{number}:\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "/python/pyvenv.cfg": f"home = {home}\ninclude-system-site-packages = false\n",
        f"{LIBRARY}/packages.pth": "\n".join(packages) + "\n",
    }


def _open_folders(*names: str) -> list[str]:
    """Return arguments for folders, and those above, that every user may look into.

    Bubblewrap makes the folders above a file or mount for their owner alone.
    """
    wanted = {str(path) for name in names for path in (Path(name), *Path(name).parents)}
    arguments: list[str] = []
    for name in sorted(wanted - {"/"}):
        arguments += ["--perms", "0755", "--dir", name]
    return arguments


def _memory_folder(name: str, size_mb: int) -> list[str]:
    """Return arguments for a folder in memory that every user may write."""
    return ["--perms", "1777", "--size", str(size_mb * MIB), "--tmpfs", name]


@functools.cache
def _system() -> Sequence[str]:
    """Return arguments for the read-only system: /usr, the top folders that lead there, /etc."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(name):
            arguments += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            arguments += ["--ro-bind", name, name]
    for name in ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return tuple(arguments)


@functools.cache
def _python() -> Sequence[str]:
    """Return arguments for this Python and its packages.

    Inside, /python is a virtual environment of that installation. Its packages are the folders
    that this process imports from; their start-up files (.pth) are left unread.
    """
    program = os.path.realpath(sys.executable)
    arguments: list[str] = []
    for base in _base():
        arguments += ["--ro-bind", base, base]
    for i, folder in enumerate(package_folders()):
        arguments += ["--ro-bind", folder, f"/packages/{i}"]
    arguments += ["--symlink", program, PYTHON, "--symlink", "python", f"{PYTHON}3"]
    return tuple(arguments)


def _base() -> list[str]:
    """Return the folder of the Python installation, unless /usr holds it."""
    base = os.path.realpath(sys.base_prefix)
    return [] if base == "/usr" or base.startswith("/usr/") else [base]


def _python_parents() -> list[str]:
    """Return the folders above the Python installation."""
    return [str(Path(base).parent) for base in _base()]


@functools.cache
def package_folders() -> Sequence[str]:
    """Return the folders of installed packages that this Python imports from."""
    found = (os.path.realpath(p) for p in sys.path if Path(p).name in PACKAGE_FOLDERS)
    return tuple(dict.fromkeys(p for p in found if os.path.isdir(p)))
