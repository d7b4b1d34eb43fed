"""`octy dev` as a command: everything runs once the banner is shown, Ctrl-C stops it, and its state is kept."""

import signal
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from support.paths import EXAMPLES
from support.until import until

from octy_worker.dev import environment
from octy_worker.dev.http_client import http_client
from octy_worker.dev.processes import is_listening

RUN = """
import sys
from pathlib import Path
from rich.console import Console
from octy_worker.dev.dev_command import run_dev
sys.exit(run_dev(Path(sys.argv[1]), console=Console(width=80), examples=Path(sys.argv[2])))
"""


def test_dev_command_starts_and_stops_the_stack(tmp_path):
    folder = tmp_path / "dev"
    log = tmp_path / "said"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", RUN, str(folder), str(EXAMPLES)],
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as dev,
    ):
        try:
            wait_for(log, "Press Ctrl-C to stop", dev)
            banner = log.read_text()
            env = environment.read(folder / "env")
            tls = ssl.create_default_context(cafile=folder / "tls" / "ca.pem")
            api = next(
                word for line in banner.splitlines() if " API " in line for word in line.split() if "https:" in word
            )
            with http_client(tls) as browser:
                assert browser.get(f"{env['OCTY_PUBLIC_URL']}/healthz").status_code == 200
                assert browser.get(f"{api}/v1/account/authenticate").status_code == 401
                inbox = next(line for line in banner.splitlines() if "Inbox" in line).split()[2]
                assert "No mail yet" in browser.get(inbox).text
            assert f"{api}/v1/account/authenticate" in banner
            assert "Temporal Web UI" in banner
            assert "(set PK to your public key)" in banner  # a remark that breaks would be typed as a command
        finally:
            dev.send_signal(signal.SIGINT)
            code = dev.wait(30)
    assert code == 0, log.read_text()
    assert "Stopped. Everything is kept in" in log.read_text()
    ports = [env[name].rpartition(":")[2] for name in ("OCTY_PUBLIC_URL", "OCTY_TEMPORAL_ADDRESS", "OCTY_SMTP_PORT")]
    assert not any(is_listening(int(port)) for port in ports)
    assert commands_that_name(folder) == []
    assert (folder / "octy.db").exists()
    assert (folder / "temporal.db").exists()


def wait_for(log, text, process):
    def is_logged() -> bool:
        assert process.poll() is None, log.read_text()
        return text in log.read_text()

    until(is_logged, message=text)


def commands_that_name(folder: Path) -> list[str]:
    commands = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone meanwhile
            commands.append(entry.read_text(errors="replace").replace("\0", " "))
    return [command for command in commands if str(folder) in command]
