"""The staff member of the stack: one-time passwords, each returned once; what a demo says about unproven decisions."""

from dataclasses import replace
from pathlib import Path

import pytest
from passlib.totp import TOTP

from octy_worker.access.totp import verify_code
from octy_worker.dev.demo_oracle import AnsweredIncident, Figures
from octy_worker.dev.demo_report import unproven
from octy_worker.dev.demo_staff import AuditFigures, SignedOrder
from octy_worker.dev.processes import ProcessError
from octy_worker.dev.staff_member import CodeGenerator, StaffMember, run_octy

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # Base32


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("second", [0.0, 4.9, 5.1, 24.0, 29.9])
def test_each_code_is_accepted_after_the_one_before(tmp_path: Path, second: float) -> None:
    clock = Clock(1_800_000_000 + second)
    codes = CodeGenerator(tmp_path, clock)
    assert not codes.is_ready
    codes.keep(SECRET)
    assert codes.is_ready
    counter = 0
    for _ in range(5):
        code = codes.next(clock.pause)
        counter = verify_code(SECRET, code, last_counter=counter, now=clock.now + 1)
    assert clock.now < 1_800_000_000 + second + 4 * 30
    codes.forget()
    assert not codes.is_ready


def test_secret_and_codes_are_kept_for_the_next_run(tmp_path: Path) -> None:
    clock = Clock(1_800_000_000.0)
    CodeGenerator(tmp_path, clock).keep(SECRET)
    first = CodeGenerator(tmp_path, clock).next(clock.pause)
    second = CodeGenerator(tmp_path, clock).next(clock.pause)
    assert first != second
    assert second in {str(TOTP(key=SECRET).generate(time=clock.now + late).token) for late in (-30, 0, 30)}
    assert (tmp_path / "one-time-password").stat().st_mode & 0o777 == 0o600


def test_failed_command_is_named_with_its_errors(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"octy staff list ended with 2: octy: there is no database"):
        run_octy(("staff", "list"), {"OCTY_DATABASE_URL": f"sqlite:///{tmp_path}/none.db"})


def test_enrolment_that_is_refused_leaves_no_one_time_password(tmp_path: Path) -> None:
    environment = {"OCTY_DATABASE_URL": f"sqlite:///{tmp_path}/none.db"}
    staff = StaffMember(tmp_path, lambda: environment)
    with pytest.raises(ProcessError, match=r"octy staff enroll ended with 2: "):
        staff.enroll("no token")
    assert not staff.is_enrolled


def test_decision_without_a_verified_order_and_a_changed_log_are_reported() -> None:
    answers = tuple(AnsweredIncident(user, answer, False, 200, 200) for user, answer in (("a", "regenerate"),))
    found = Figures(rows=0, answers={}, recorded={}, alerts=(), mails={}, cases=answers)
    signed = SignedOrder("a", "demo.staff", "0199", 1, "totp", verified=True)
    sound, broken = AuditFigures(3, verified=True), AuditFigures(3, verified=False)
    assert unproven(found, [signed], sound) == []
    for orders in ([], [replace(signed, verified=False)], [replace(signed, user="b")]):
        assert unproven(found, orders, sound) == ["staff: the decision about a was not signed by a verified order"]
    assert unproven(found, [signed], broken) == ["audit: `octy audit verify` found that the log was changed"]
