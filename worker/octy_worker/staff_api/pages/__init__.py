"""Web pages of staff: log in, enrol a passkey, see the orders that wait and sign them by passkey.

access      who a request comes from: origin, cookies, form token, session
login       the page that waits for a code, and the second factor
enrolment   a one-time link, and the passkey that it allows
orders      orders that wait, and their signatures
app         the routes; each says whether it is open to everybody
"""
