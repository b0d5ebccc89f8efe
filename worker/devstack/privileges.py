"""
How Postgres is started without root.

Postgres refuses to run as root, yet containers and CI often are root. Then the server runs as an unprivileged account
that keeps one capability, reading past directory permissions: data directories and virtual environments of root
commonly sit below a closed home or temporary directory, and opening those to everybody would be worse.
The rule: nothing outside the data directory changes owner or mode.
"""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The system account the server runs as; `None` in its place means the caller's own."""

    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Hand *path* and all below it to the account."""
        for directory, _, names in os.walk(path):
            for name in ("", *names):
                os.chown(os.path.join(directory, name), self.uid, self.gid, follow_symlinks=False)


def server_account() -> Account | None:
    """Whom the server must run as: nobody in particular, unless this process is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise RuntimeError("Running as root needs a system account `postgres` or `nobody` to start Postgres as.")


def child_setup(account: Account | None) -> Callable[[], None]:
    """What a child process does between fork and exec. It also dies with its parent (Linux)."""

    def setup() -> None:
        if account is not None:
            _become(account)
        if _libc is not None:
            # After the change of account, which clears it. A killed stack must not leave a server behind.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)

    return setup


def _become(account: Account) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if _libc is not None:
        _keep_capability(_CAP_DAC_OVERRIDE)


def _keep_capability(capability: int) -> None:
    """Best effort: a container without it works as long as its directories are open."""
    assert _libc is not None
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low then high words
    if _libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0:
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
