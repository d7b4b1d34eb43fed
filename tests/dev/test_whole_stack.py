"""`octy demo` and `octy dev`, whole: every figure of a small file; Ctrl-C stops all that runs, and its state is kept.

`make proofs` runs these: each starts Temporal, worker, mail server and app. Their parts are tested beside this file.
"""

import io
import json
import signal
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from rich.console import Console
from support.demo_attempts import SMALL
from support.paths import EXAMPLES
from support.until import until

from octy_worker.dev import demo, environment
from octy_worker.dev.http_client import http_client
from octy_worker.dev.processes import is_listening

RUN = """
import sys
from pathlib import Path
from rich.console import Console
from octy_worker.dev.dev_command import run_dev
sys.exit(run_dev(Path(sys.argv[1]), console=Console(width=80), examples=Path(sys.argv[2])))
"""


def test_demo_of_a_small_file_gives_the_expected_results(temporary, tmp_path):
    data = tmp_path / "small.csv"
    data.write_text(SMALL, "utf-8")
    said = io.StringIO()
    code = demo.run_demo(data, tmp_path / "report.json", console=Console(file=said, width=120), examples=EXAMPLES)
    assert code == 0, said.getvalue()
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = report.pop("seconds")
    assert 0 < seconds < 120
    audit = report.pop("audit")
    assert audit["verified"] is True
    assert audit["entries"] > 20
    [signed] = report.pop("staff")
    order = signed.pop("order")
    assert str(UUID(order)) == order
    assert signed == {
        "user": "third", "actor": "demo.staff", "certificate_serial": 1, "factor": "totp", "verified": True,
    }  # fmt: skip
    assert report == {
        "rows": 84,
        "answers": {"200": 3, "401": 81},
        "recorded": {"accepted": 3, "refused": 81},
        "alerts": [
            {"user": "zoë", "row": 22, "length": 20, "rule": "key"},
            {"user": "a, [b]", "row": 44, "length": 20, "rule": "source"},
            {"user": "third", "row": 64, "length": 20, "rule": "key"},
            {"user": "fourth", "row": 84, "length": 20, "rule": "key"},
        ],
        "mails": {"new_keys": 7, "alert": 4},
        "cases": [
            {"user": "zoë", "answer": "not_us", "leaked": True, "old_pair": 401, "new_pair": 200},
            {"user": "a, [b]", "answer": "it_was_us", "leaked": False, "old_pair": 200, "new_pair": None},
            {"user": "third", "answer": "regenerate", "leaked": False, "old_pair": 200, "new_pair": 200},
        ],
    }
    for line in (
        "accounts opened: 5",
        "support staff (demo.staff) decides: regenerate",
        "incident closed: false alarm",
        "Signed order: demo.staff about third, certificate 1, second factor totp, verified",
        "entries, verified",
    ):
        assert line in said.getvalue()
    assert "sk_" not in said.getvalue()
    assert list(temporary.iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(temporary) not in running


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
