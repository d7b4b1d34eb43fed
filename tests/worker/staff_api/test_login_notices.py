"""Failed log-ins: how they are limited, and that the admins are told by mail."""

import time
from contextlib import ExitStack

import pytest
from support.mail_rig import RecordingMailer
from support.staff_api_rig import StaffApi
from support.staff_rig import ADDRESS, StaffKeys
from support.until import until
from support.world import World

from octy_middleware.errors import ConfigurationError
from octy_worker.access.members import BOOTSTRAP, StaffState
from octy_worker.access.roles import Role
from octy_worker.mail.facts.digest import FailedLoginFacts
from octy_worker.mail.renderer import MailRenderer
from octy_worker.staff_api.login_limits import LoginLimits, TooManyLoginsError
from octy_worker.staff_api.login_notices import INTERVAL, FailedLoginMail, FailedLoginNotices

NOW = float(int(time.time()))


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


def test_five_failures_in_a_row_are_told_to_active_admins_and_support(world: World, staff_keys: StaffKeys) -> None:
    api, mailer = StaffApi.of(world, staff_keys, NOW, support_digest_to="support@octy.example"), RecordingMailer()
    with world.database.write_session() as session:
        for handle, role in (("boss", Role.ADMIN), ("gone", Role.ADMIN), ("kai", Role.KEY_ADMIN)):
            api.rig.members.add(session, handle, role, granted_by=BOOTSTRAP, now=NOW, mail=f"{handle}@octy.example")
            state = StaffState.DISABLED if handle == "gone" else StaffState.ACTIVE
            api.rig.members.change(session, handle, granted_by=BOOTSTRAP, now=NOW, state=state)
    mails = FailedLoginMail(world.database, api.rig.members, mailer, MailRenderer(api.settings), api.settings)
    api.office.notices = FailedLoginNotices(mails.send, lambda: api.rig.now)
    wrong = {**api.login_request(), "code": "000000"}
    for _ in range(4):
        assert api.post("/login", wrong).status_code == 403
    assert mailer.envelopes == []
    assert api.post("/login", wrong).status_code == 403
    until(lambda: len(mailer.envelopes) == 2)
    assert [one.recipient for one in mailer.envelopes] == ["boss@octy.example", "support@octy.example"]
    text = mailer.envelopes[0].rendered.text
    assert f"ada from {ADDRESS}" in text
    assert "5 in a row" in text
    assert ADDRESS in mailer.envelopes[0].rendered.html


def test_one_mail_in_fifteen_minutes_tells_of_all_and_is_tried_again_when_deferred() -> None:
    told: list[set[str]] = []
    results, now = [False, True, True], [0.0]

    def send(facts: FailedLoginFacts) -> bool:
        told.append({one.handle for one in facts.failures})
        return results[len(told) - 1]

    notices = FailedLoginNotices(send, lambda: now[0], run=lambda task: task())
    for handle in ("deferred", "sent", "waits"):
        notices.add(handle, ADDRESS, 5)
    assert told == [{"deferred"}, {"deferred", "sent"}]
    now[0] = INTERVAL
    notices.add("later", ADDRESS, 7)
    assert told[2:] == [{"waits", "later"}]


def test_mail_names_twenty_people_at_most_and_is_tried_again_after_an_error() -> None:
    told: list[int] = []
    now = [0.0]

    def send(facts: FailedLoginFacts) -> bool:
        told.append(len(facts.failures))
        if len(told) == 1:
            raise ConfigurationError("no mail server")
        return True

    notices = FailedLoginNotices(send, lambda: now[0], run=lambda task: task())
    for number in range(27):
        notices.add(f"p{number}", ADDRESS, 5)
    assert told == [1, 2]
    now[0] = INTERVAL
    notices.add("later", ADDRESS, 5)
    assert told[2:] == [20]


def wait(limits: LoginLimits, handle: str, source: str, now: float) -> float:
    try:
        with limits.attempt(handle, source, now):
            return 0
    except TooManyLoginsError as refused:
        return refused.wait


def test_attempts_that_are_being_judged_count_until_they_are_judged() -> None:
    limits = LoginLimits()
    for _ in range(3):
        limits.fail("ada", ADDRESS, 0.0)
    with limits.attempt("ada", ADDRESS, 0.0), limits.attempt("ada", ADDRESS, 0.0):
        assert wait(limits, "ada", ADDRESS, 0.0) == 1, "it would be the sixth"
        assert wait(limits, "vic", ADDRESS, 0.0) == 0
    assert wait(limits, "ada", ADDRESS, 0.0) == 0, "neither failed"
    for _ in range(2):
        limits.fail("ada", ADDRESS, 0.0)
    with pytest.raises(ZeroDivisionError), limits.attempt("ada", ADDRESS, 60.0):
        assert wait(limits, "ada", ADDRESS, 60.0) == 1
        _ = 1 / 0
    assert wait(limits, "ada", ADDRESS, 60.0) == 0, "an attempt that ended otherwise is taken back"
    assert not limits._judged


def test_twenty_attempts_at_once_from_one_source_are_judged() -> None:
    limits = LoginLimits()
    with ExitStack() as judged:
        for number in range(20):
            judged.enter_context(limits.attempt(f"p{number}", ADDRESS, 0.0))
        assert [wait(limits, f"p{number}", ADDRESS, 0.0) for number in range(20, 25)] == [1] * 5


def test_failures_of_one_source_delay_it_after_twenty_whatever_the_handles() -> None:
    limits = LoginLimits()
    for number in range(20):
        assert wait(limits, f"p{number}", ADDRESS, 0.0) == 0
        limits.fail(f"p{number}", ADDRESS, 0.0)
    assert wait(limits, "ada", ADDRESS, 1.0) == 59
    assert wait(limits, "ada", "198.51.100.1", 1.0) == 0
    assert wait(limits, "ada", ADDRESS, 60.0) == 0
    assert limits.fail("p1", ADDRESS, 1000.0) == 1, "forgotten after a quarter of an hour"


def test_success_forgets_the_failures_of_this_person_only() -> None:
    limits = LoginLimits()
    for handle in ("ada", "vic"):
        for _ in range(5):
            limits.fail(handle, "2001:db8::1", 0.0)
    assert wait(limits, "ada", "2001:db8::2", 0.0) == 60, "a /64 is one source"
    limits.succeed("ada", "2001:db8::3")
    assert (wait(limits, "ada", "2001:db8::1", 0.0), wait(limits, "vic", "2001:db8::1", 0.0)) == (0, 60)


def test_memory_of_the_limits_is_bounded() -> None:
    limits = LoginLimits()
    for number in range(11_000):
        limits.fail(f"p{number}", ADDRESS, 0.0)
    assert len(limits._failures) <= 10_000
