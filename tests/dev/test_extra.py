"""Without the extra `[dev]` each adapter to the embedded stack says which command installs it."""

import subprocess
import sys


def test_missing_extra_is_named_with_the_install_command():
    script = "import sys; sys.modules['trustme'] = sys.modules['aiosmtpd'] = None; import octy_worker.dev.demo"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "octy_middleware.errors.ConfigurationError: the embedded stack needs aiosmtpd, trustme: "
        "run pip install 'octy-middleware[dev]'"
    )
