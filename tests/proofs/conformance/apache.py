"""Apache with mod_wsgi, of Debian's packages `apache2` and `libapache2-mod-wsgi-py3`.

Its configuration is on the command line alone. Its column is run where it is found.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from support.paths import TESTS

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_MODULES = Path("/usr/lib/apache2/modules")
_WSGI = _MODULES / f"mod_wsgi.so-{_VERSION}"  # it embeds the interpreter, so the version must be ours
_PROGRAM = shutil.which("apache2") or "/usr/sbin/apache2"
_UNSHARE = shutil.which("unshare") or "/usr/bin/unshare"
NEEDS = f"apache2, and libapache2-mod-wsgi-py3 for Python {_VERSION}"


def is_installed() -> bool:
    """Return whether Apache is there, with mod_wsgi for this Python."""
    return Path(_PROGRAM).exists() and _WSGI.exists()


def versions() -> dict[str, str]:
    """Return the versions of Apache and of its module as Debian names them; none where they are not installed."""
    if not is_installed():
        return {}
    query = ("dpkg-query", "--show", "--showformat=${source:Upstream-Version}")
    packages = {"apache": "apache2", "mod_wsgi": "libapache2-mod-wsgi-py3"}
    return {name: subprocess.check_output([*query, package], text=True) for name, package in packages.items()}


def command(app: str, port: int) -> Sequence[str]:
    """Return how it is started with one daemon process, as its documentation says; `{folder}` is for its files."""
    module, _, name = app.partition(":")
    script = TESTS.joinpath(*module.split(".")).with_suffix(".py")
    path = f"{TESTS}:{sysconfig.get_paths()['purelib']}"
    lines = (
        "ServerName 127.0.0.1",
        f"Listen 127.0.0.1:{port}",
        "PidFile {folder}/apache.pid",
        "ErrorLog /dev/stderr",
        f"LoadModule mpm_event_module {_MODULES}/mod_mpm_event.so",
        f"LoadModule authz_core_module {_MODULES}/mod_authz_core.so",
        f"LoadModule wsgi_module {_WSGI}",
        "WSGISocketPrefix {folder}/wsgi",
        f"WSGIDaemonProcess sites processes=1 threads=4 python-path={path}",
        "WSGIProcessGroup sites",
        "WSGIApplicationGroup %{GLOBAL}",
        "WSGIPassAuthorization On",
        f"WSGICallableObject {name}",
        f"WSGIScriptAlias / {script}",
    )
    options = [part for line in lines for part in ("-C", line)]
    return (*_not_as_root(), _PROGRAM, "-DFOREGROUND", "-f", "/dev/null", *options)


def _not_as_root() -> Sequence[str]:
    """Return what hides from Apache that it is root, for it would go on as a user who may not read our files."""
    return (_UNSHARE, "--user", "--map-user=1000", "--map-group=1000") if os.geteuid() == 0 else ()
