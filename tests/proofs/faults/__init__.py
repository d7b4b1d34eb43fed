"""`make faults`: everything is killed and hindered while people use it, and nothing may be lost.

Here: a whole installation of real parts, customers and attackers, those who break it, and a judge who looks at it from
the outside. Not here: one part under load (`load`), whole stories without faults (`story`).

    __main__    `python -m proofs.faults`: options, one run a store, the JSON report, the exit status
    siege       one run: traffic, faults, healing, calm, evidence, verdict
    place       the installation: every part as a process, with a proxy in front of each server
    proxy       what refuses, stalls and delays connections
    shifted     a process whose wall clock is moved from the outside; apps: the host apps, with a log of commits
    disk        a small disk of the run's own, for filling
    chaos       who is killed or hindered when; steps: the named moments between two effects
    callers     clients of the API, and their books; attackers: many of them at one pair
    customers   whole lives of accounts; diary: what they leave
    witness     what is seen in tables and mails while it happens
    evidence    all that is known in the end; gathering: where from; leaks: the search for secrets
    judge       PURE. what the evidence says of every invariant
"""
