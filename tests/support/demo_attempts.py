"""A small file of log-in attempts for `octy demo`: four alerts, by both rules. No tests here."""

HEADER = "at,user,source,outcome\n"


def attempts(outcome: str, user: str, source: str, count: int) -> str:
    return f"2017-03-27T13:08:09Z,{user},{source},{outcome}\n" * count


SMALL = HEADER + "".join([
    attempts("accepted", "calm", "192.0.2.1", 2),
    attempts("refused", "zoë", "192.0.2.1", 21),
    attempts("refused", '"a, [b]"', "2001:db8::1", 19),
    attempts("accepted", '"a, [b]"', "192.0.2.1", 1),
    attempts("refused", '"a, [b]"', "2001:db8::2", 1),
    attempts("refused", "third", "192.0.2.1", 10),
    attempts("refused", "third", "198.51.100.1", 10),
    attempts("refused", "fourth", "192.0.2.9", 20),
])  # fmt: skip
