"""Log-ins, sessions, the staff's pages in a browser, routes of the staff API, and what limits failed log-ins."""

from proofs.security.checks.check import Check

_LOGINS = "octy_worker/access/logins.py"
_TEXTS = "octy_worker/access/signed_text.py"
_SESSIONS = "octy_worker/access/sessions.py"
_BROWSER = "octy_worker/access/browser_logins.py"
_PAGES = "octy_worker/staff_api/pages/access.py"
_TESTS = "worker/access/test_sessions.py"
_TEXT = f"{_TESTS}::test_log_in_with_another_text_is_refused"
_NONCE = f"{_TESTS}::test_nonce_opens_one_session_within_its_minute[sqlite]"
_ENDS = f"{_TESTS}::test_session_ends"
_BROWSER_TESTS = "worker/access/test_browser_logins.py"
_PAGE_TESTS = "worker/staff_api/test_pages_access.py"
_API_TESTS = "worker/staff_api/test_staff_api.py"
_ATTEMPTS = "octy_worker/staff_api/attempts.py"
_LIMITS = "octy_worker/staff_api/login_limits.py"
_LIMIT_TESTS = "worker/staff_api/test_login_notices.py"

SESSIONS = (
    Check(
        "log-in signed for another server",
        _TEXTS,
        "if text.server != server:",
        "if False:",
        (f"{_TEXT}[sqlite-another server]",),
        "A server that staff were lured to passes the log-in on, and has a session.",
    ),
    Check(
        "log-in for another installation",
        _TEXTS,
        "if text.installation != installation:",
        "if False:",
        (f"{_TEXT}[sqlite-another installation]",),
        "A log-in at the test installation under the same URL opens production.",
    ),
    Check(
        "stale log-in",
        _TEXTS,
        "if abs(now - text.issued_at) > FRESHNESS:",
        "if False:",
        (f"{_TEXT}[sqlite-signed long ago]", f"{_TEXT}[sqlite-signed in the future]"),
        "Little: the nonce bounds the time too. A client with a wrong clock is not told so.",
    ),
    Check(
        "log-in with a nonce of one's own",
        _LOGINS,
        'if not self.macs.is_right(mac, "login_nonce", self._nonce_fields(head)):',
        "if False:",
        (f"{_TEXT}[sqlite-a made-up nonce]",),
        "Log-ins can be signed in advance, where somebody has the key for a moment.",
    ),
    Check(
        "nonce that is older than a minute",
        _LOGINS,
        "if not 0 <= now - int(issued_at) <= NONCE_TTL:",
        "if False:",
        (_NONCE,),
        "A signed log-in that was caught can be sent for five minutes.",
    ),
    Check(
        "replayed log-in (nonce)",
        _SESSIONS,
        "            nonce_hash=nonce_hash,\n",
        "",
        (_NONCE,),
        "A log-in that was caught opens a second session with the next code.",
    ),
    Check(
        "log-in in the name of somebody else",
        _TEXTS,
        "    check_principal(signed.certificate, text.handle)\n",
        "",
        (f"{_TEXT}[sqlite-another person]",),
        "Everybody with a certificate logs in as everybody whose code they see.",
    ),
    Check(
        "source-address at the log-in",
        _TEXTS,
        "    check_source(signed.certificate, source)\n",
        "",
        (f"{_TESTS}::test_certificate_that_is_bound_to_an_address_opens_and_keeps_a_session_from_there_only[sqlite]",),
        "A session is opened from an address from which it then can't be used.",
    ),
    Check(
        "source-address at each request",
        _SESSIONS,
        "                check_source(certificate, source)\n",
        "                pass\n",
        (f"{_TESTS}::test_certificate_that_is_bound_to_an_address_opens_and_keeps_a_session_from_there_only[sqlite]",),
        "A session's token that was stolen in the office works elsewhere.",
    ),
    Check(
        "session that was not used for 30 minutes",
        _SESSIONS,
        "if utc(now) >= row.last_used_at + timedelta(seconds=IDLE_TIMEOUT):",
        "if False:",
        (f"{_ENDS}[sqlite-idle]",),
        "A machine that was left unlocked is logged in all day.",
    ),
    Check(
        "session after twelve hours",
        _SESSIONS,
        "expires_at = min(now + MAX_LIFETIME, float(certificate.valid_before))",
        "expires_at = float(certificate.valid_before)",
        (f"{_TESTS}::test_session_in_use_ends_after_twelve_hours_of_a_longer_certificate[sqlite]",),
        "A session lives as long as its certificate.",
    ),
    Check(
        "session whose time is over",
        _SESSIONS,
        "if utc(now) >= row.expires_at:",
        "if False:",
        (f"{_TESTS}::test_session_in_use_ends_after_twelve_hours_of_a_longer_certificate[sqlite]",),
        "The same, whatever its row says.",
    ),
    Check(
        "session whose certificate has ended, or was revoked",
        _SESSIONS,
        "certificate = self._authorities.verify(wire_of(row.certificate), now=now)",
        'certificate = __import__("octy_worker.crypto.ssh_certificates", fromlist=["x"])'
        ".read_unverified(wire_of(row.certificate))",
        (f"{_ENDS}[sqlite-serial revoked]", f"{_ENDS}[sqlite-authority gone]"),
        "Who has stolen a key and logged in once reads on after its revocation.",
    ),
    Check(
        "session of somebody who was disabled, or has another role",
        _SESSIONS,
        "if _staff_mac(session, row.staff_id) != row.staff_mac:",
        "if False:",
        (f"{_ENDS}[sqlite-another role]", f"{_ENDS}[sqlite-role there and back]"),
        "A session that an intruder has opened outlives a change of rights; disabled people are refused later still.",
    ),
    Check(
        "session of a browser as bearer token",
        "octy_worker/staff_api/access.py",
        "if found.kind is not kind:",
        "if False:",
        (f"{_API_TESTS}::test_session_of_a_browser_is_no_session_of_a_command[sqlite]",),
        "A cookie's value that leaked is used by programs, without form token and origin.",
    ),
    Check(
        "session of a command as cookie",
        "octy_worker/staff_api/access.py",
        "if found.kind is not kind:",
        "if False:",
        (f"{_PAGE_TESTS}::test_session_of_a_command_is_no_session_of_a_browser[sqlite]",),
        "A token from a file opens the pages.",
    ),
    Check(
        "end of somebody else's session",
        "octy_worker/staff_api/endpoints.py",
        "if wanted.id not in known or not office",
        "if not office",
        (f"{_API_TESTS}::test_sessions_are_listed_and_ended_by_their_owner_and_by_admins_only[sqlite]",),
        "A viewer logs the admins out, again and again.",
    ),
)

BROWSER = (
    Check(
        "log-in in another browser (cookie)",
        _BROWSER,
        "col(StaffBrowserLogin.cookie_hash) == hash_of(cookie), StaffBrowserLogin.state == _State.FACTOR",
        "StaffBrowserLogin.state == _State.FACTOR",
        (f"{_BROWSER_TESTS}::test_code_is_typed_as_people_do_and_binds_the_log_in_to_a_cookie[sqlite]",),
        "Anybody's browser is shown the log-in that somebody has begun.",
    ),
    Check(
        "code that was used",
        _BROWSER,
        "row.state != _State.CODE or ",
        "",
        (
            f"{_BROWSER_TESTS}::test_code_counts_once_and_for_a_minute[sqlite]",
            f"{_PAGE_TESTS}::test_code_of_another_browser_or_of_yesterday_is_refused[sqlite]",
        ),
        "Who reads the code over a shoulder takes the log-in over into their browser.",
    ),
    Check(
        "code that is older than a minute",
        _BROWSER,
        " or utc(now) >= row.expires_at",
        "",
        (
            f"{_BROWSER_TESTS}::test_code_counts_once_and_for_a_minute[sqlite]",
            f"{_PAGE_TESTS}::test_code_of_another_browser_or_of_yesterday_is_refused[sqlite]",
        ),
        "A code on yesterday's screen begins a log-in.",
    ),
    Check(
        "log-in that has waited for its second factor for ten minutes",
        _BROWSER,
        " and utc(now) < row.expires_at",
        "",
        (f"{_BROWSER_TESTS}::test_log_in_is_finished_once_and_in_time[sqlite]",),
        "A browser that was left waiting can be used by somebody with the second factor, until the certificate ends.",
    ),
    Check(
        "second code for one signature",
        _BROWSER,
        "            nonce_hash=nonce_hash,\n",
        "            nonce_hash=hash_of(code),\n",
        (f"{_BROWSER_TESTS}::test_signed_text_gives_one_code[sqlite]",),
        "A signed log-in that was caught gives its finder a code, too.",
    ),
    Check(
        "log-in that was finished",
        _BROWSER,
        "if row.state != _State.FACTOR:",
        "if False:",
        (f"{_BROWSER_TESTS}::test_log_in_is_finished_once_and_in_time[sqlite]",),
        "One log-in opens further sessions, each with a second factor of its own.",
    ),
    Check(
        "POST without the token of the form",
        _PAGES,
        'if not cookie or not hmac.compare_digest(form.get("csrf", "").encode(), csrf_token.encode()):',
        "if False:",
        (f"{_PAGE_TESTS}::test_post_of_another_origin_or_without_the_token_of_the_form_is_refused[sqlite]",),
        "One check less against forged forms: the origin alone remains.",
    ),
    Check(
        "POST of another origin",
        _PAGES,
        'if request.method != "POST" or request.headers.get("origin") == tools.passkeys.party.origin:',
        "if True:",
        (f"{_PAGE_TESTS}::test_post_of_another_origin_or_without_the_token_of_the_form_is_refused[sqlite]",),
        "One check less against forged forms: a page that has learned a form's token sends it.",
    ),
    Check(
        "cookie that other sites send",
        _PAGES,
        'samesite="strict"',
        'samesite="lax"',
        (f"{_PAGE_TESTS}::test_cookies_are_for_this_host_alone_and_hidden_from_scripts[sqlite]",),
        "Links of other sites open our pages with the session of who clicks.",
    ),
    Check(
        "cookie that scripts read",
        _PAGES,
        "httponly=True",
        "httponly=False",
        (f"{_PAGE_TESTS}::test_cookies_are_for_this_host_alone_and_hidden_from_scripts[sqlite]",),
        "A script that got into a page takes the session with it.",
    ),
    Check(
        "codes that are guessed",
        _ATTEMPTS,
        "            fail(office, owner or handle, source, error, step=step)\n",
        "",
        (
            f"{_PAGE_TESTS}::test_codes_can_not_be_guessed_at_any_rate[sqlite]",
            f"{_API_TESTS}::test_failed_log_ins_are_delayed_by_handle_and_source_and_lock_nobody_out[sqlite]",
        ),
        "Codes of 50 bits, and one-time passwords, can be tried at any rate.",
    ),
)

ROUTES = (
    Check(
        "endpoint without a session",
        "octy_worker/staff_api/app.py",
        "if endpoint.role is None:",
        "if True:",
        (f"{_API_TESTS}::test_every_route_but_the_open_ones_is_refused_without_a_session[sqlite]",),
        "The network reads all incidents and customers.",
    ),
    Check(
        "description of the endpoints without a session",
        "octy_worker/staff_api/app.py",
        "        await _find_session(office, request)\n",
        "",
        (f"{_API_TESTS}::test_every_route_but_the_open_ones_is_refused_without_a_session[sqlite]",),
        "Everybody on the network reads which endpoints there are.",
    ),
    Check(
        "endpoint of a higher role",
        "octy_worker/staff_api/app.py",
        "if not session.role.includes(endpoint.role):",
        "if False:",
        (f"{_API_TESTS}::test_endpoint_of_a_higher_role_is_refused_to_others[sqlite]",),
        "A viewer reads and exports the audit log.",
    ),
    Check(
        "page that was added without a check",
        "octy_worker/staff_api/pages/app.py",
        'page_route(tools, "/orders/{order_id}", orders.order),',
        'open_route(tools, "/orders/{order_id}", orders.order),',
        (f"{_PAGE_TESTS}::test_no_page_but_the_open_ones_is_shown_or_acts_without_a_session[sqlite]",),
        "Here an error page, since the page asks whose session it is; a page that does not ask would be open.",
    ),
    Check(
        "page without a session",
        _PAGES,
        "            return _refuse_session(tools, request, str(error))",
        "            session = None",
        (f"{_PAGE_TESTS}::test_no_page_but_the_open_ones_is_shown_or_acts_without_a_session[sqlite]",),
        "The same for each page.",
    ),
    Check(
        "guessing on after five failures of one person from one address",
        _LIMITS,
        "wait = max(self._wait(keys[0], _DELAYED_AFTER, now), ",
        "wait = max(0.0, ",
        (f"{_API_TESTS}::test_failed_log_ins_are_delayed_by_handle_and_source_and_lock_nobody_out[sqlite]",),
        "Who has stolen a key guesses codes at twenty a minute.",
    ),
    Check(
        "guessing on after twenty failures from one address",
        _LIMITS,
        ", self._wait(keys[1], _SOURCE_DELAYED_AFTER, now))",
        ", 0.0)",
        (f"{_LIMIT_TESTS}::test_failures_of_one_source_delay_it_after_twenty_whatever_the_handles",),
        "One address fills the audit log under ever new handles.",
    ),
    Check(
        "many guesses at the same time",
        _LIMITS,
        "            self._judged.update(keys)\n",
        "            pass\n",
        (f"{_LIMIT_TESTS}::test_attempts_that_are_being_judged_count_until_they_are_judged",),
        "A thousand guesses are sent before the first is judged.",
    ),
    Check(
        "failures forgotten after a signature alone",
        _ATTEMPTS,
        "if proves_factor:",
        "if True:",
        (f"{_API_TESTS}::test_signature_without_second_factor_forgets_no_failed_code[sqlite]",),
        "A thief of a key begins to guess again after each fourth code.",
    ),
    Check(
        "codes of orders that are guessed",
        _ATTEMPTS,
        "            _tell(office, handle, source, office.limits.fail(handle, source, now))\n",
        "            pass\n",
        (f"{_API_TESTS}::test_codes_of_orders_are_limited_as_those_of_log_ins[sqlite-/orders/receive]",),
        "A session's owner with a stolen key guesses codes by orders.",
    ),
    Check(
        "admins are told after five failures",
        _ATTEMPTS,
        "if in_a_row >= TOLD_AFTER:",
        "if False:",
        (f"{_API_TESTS}::test_codes_of_orders_are_limited_as_those_of_log_ins[sqlite-/orders/receive]",),
        "An attack is seen only by who reads the audit log.",
    ),
    Check(
        "refused log-in is recorded",
        _ATTEMPTS,
        "        record_refusal(session, handle, source=source, reason=str(error), now=now, step=step)\n",
        "        pass\n",
        (f"{_API_TESTS}::test_failed_log_ins_are_delayed_by_handle_and_source_and_lock_nobody_out[sqlite]",),
        "The audit log knows nothing of an attack.",
    ),
    Check(
        "wrong codes of a browser from ever new addresses",
        _ATTEMPTS,
        " or (handle == UNKNOWN and not office.limits.may_record_unnamed(now))",
        "",
        (f"{_PAGE_TESTS}::test_wrong_codes_from_many_addresses_do_not_fill_the_audit_log[sqlite]",),
        "The network fills the audit log, and keeps the database busy with it.",
    ),
    Check(
        "X-Forwarded-For of a client",
        "octy_worker/staff_api/access.py",
        "return self._proxies.resolve(peer, request.url.scheme, hops, [], []).source",
        "return hops[0].decode() if hops else str(peer)",
        (f"{_API_TESTS}::test_source_is_the_peer_unless_it_is_a_trusted_proxy[sqlite]",),
        "One header evades the limits, and source-address.",
    ),
)
