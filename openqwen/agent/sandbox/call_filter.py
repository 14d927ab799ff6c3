"""The system call filter of the sandbox, as a BPF program for bubblewrap's `--seccomp`.

    Popen(["bwrap", "--seccomp", str(memory_file(call_filter())), …])

A deny list: what Python, numpy and a Jupyter kernel call is wide and grows with every C library, so
that a list of the allowed would break honest programs first; namespaces, a user of its own and
absent capabilities refuse most of the denied calls anyway. The filter is the second wall. It shuts
what has been a door in kernels: new namespaces, io_uring, bpf, keyrings, userfaultfd, rare socket
families. Calls newer than the ones known here answer "no such call", as on an older kernel.

Sources: seccomp(2), the kernel's syscall_64.tbl, the reasons given in Docker's default profile.
"""

import errno
import functools
import mmap
import os
import socket
import tempfile
from typing import Any

from openqwen.core.errors import UserError

NO_HONEST_PROGRAM_NEEDS = (
    "acct add_key bpf chroot clock_adjtime clock_adjtime64 clock_settime clock_settime64 "
    "create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick "
    "get_kernel_syms init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl "
    "lookup_dcookie mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at "
    "open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv "
    "process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key "
    "sethostname setdomainname setns settimeofday stime swapoff swapon _sysctl syslog umount "
    "umount2 unshare uselib userfaultfd vhangup vm86 vm86old "
)
"""The process that calls one of these is ended, and its verdict is `blocked`."""

ABSENT = (
    "clone3 io_uring_setup io_uring_enter io_uring_register memfd_secret shmget shmat shmctl "
    "shmdt msgget msgsnd msgrcv msgctl io_setup inotify_init inotify_init1 modify_ldt "
)
"""Libraries try these and go on without them: they answer "no such call".

io_setup and inotify draw on what the whole machine, or all programs of a user, have in common.
"""

REFUSED = "adjtimex memfd_create name_to_handle_at "
"""These answer "not permitted". memfd_create: its pages would escape the limits of memory."""

NAMESPACE_FLAGS = {
    "CLONE_NEWTIME": 0x80,
    "CLONE_NEWNS": 0x20000,
    "CLONE_NEWCGROUP": 0x2000000,
    "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
}
"""Calls by number, the same on all processors, for a libseccomp that is older than they are."""

SHARED_WITHOUT_A_FILE = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
"""Such memory outlives its parts' mapping and shows in no process: nothing could bound it."""

LAST_PROTOCOL = socket.IPPROTO_UDP  # beyond stand SCTP, DCCP, MPTCP …, rarely used and audited
SOCKET_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
TERMINAL_REQUESTS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C}
LAST_KNOWN_CALL = 462  # mseal, Linux 6.10; numbers are the same on all systems since 424
MANY = 512


def import_seccomp() -> Any:
    """Return the pyseccomp module.

    Raises:
        UserError: where it, or the C library that it calls, is missing.
    """
    try:
        import pyseccomp
    except ModuleNotFoundError:
        fix = "pip install 'openqwen[agent]'"
        raise UserError(f"the sandbox's call filter needs the package pyseccomp: {fix}") from None
    except (RuntimeError, OSError) as error:
        fix = "apt-get install libseccomp2"
        raise UserError(f"the sandbox's call filter needs libseccomp ({error}): {fix}") from None
    return pyseccomp


@functools.cache
def call_filter() -> bytes:
    """Return the filter as a BPF program for this machine's processor.

    Raises:
        UserError: where libseccomp is missing.
    """
    seccomp = import_seccomp()
    refuse, absent = seccomp.ERRNO(errno.EPERM), seccomp.ERRNO(errno.ENOSYS)
    no_family = seccomp.ERRNO(errno.EOPNOTSUPP)  # ZeroMQ goes on after this one, not after others
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for action, names in (
        (seccomp.KILL_PROCESS, NO_HONEST_PROGRAM_NEEDS),
        (absent, ABSENT),
        (refuse, REFUSED),
    ):
        for name in names.split():
            _add(seccomp, rules, action, name)
    for flag in NAMESPACE_FLAGS.values():
        same = seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag)
        rules.add_rule(seccomp.KILL_PROCESS, "clone", same)
    for name in ("socket", "socketpair"):
        for family in range(max(SOCKET_FAMILIES) + 1):
            if family not in SOCKET_FAMILIES:
                rules.add_rule(no_family, name, seccomp.Arg(0, seccomp.EQ, family))
        rules.add_rule(no_family, name, seccomp.Arg(0, seccomp.GT, max(SOCKET_FAMILIES)))
        rules.add_rule(no_family, name, seccomp.Arg(2, seccomp.GT, LAST_PROTOCOL))
    unnamed = seccomp.Arg(3, seccomp.MASKED_EQ, SHARED_WITHOUT_A_FILE, SHARED_WITHOUT_A_FILE)
    rules.add_rule(seccomp.ERRNO(errno.ENOMEM), "mmap", unnamed)
    for request in TERMINAL_REQUESTS.values():
        same = seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request)
        rules.add_rule(refuse, "ioctl", same)
    for number in range(LAST_KNOWN_CALL + 1, MANY):
        rules.add_rule(absent, number)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _add(seccomp: Any, rules: Any, action: int, name: str) -> None:
    """Add a rule for all uses of a call, if this processor's system has it."""
    try:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
    except ValueError:
        number = -1
    if number >= 0:
        rules.add_rule(action, name)
    elif name in NUMBERS:
        rules.add_rule(action, NUMBERS[name])


def memory_file(data: bytes) -> int:
    """Return a descriptor, at its start, of a file in memory that holds `data`; ours to close."""
    handle = os.memfd_create("openqwen")
    os.write(handle, data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle
