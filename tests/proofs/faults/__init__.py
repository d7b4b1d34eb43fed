"""`make faults`: kills and disturbs every part of an installation under real traffic; nothing may be lost.

__main__          options, one run on each database, JSON report, exit status
run               one run: traffic, faults, waiting for the end of all work, checks
context           what all parts of a run share, and what they record
installation      the parts as processes; second_installation: another one on the same servers
tcp_proxy, clock_offset, resource_faults    the faults; apps: the host apps, with a commit log
fault_injector    which fault comes when; kill_points: the points between two effects
api_clients       requests and attacks; customers: accounts; side_scenarios, message_forger: everybody else
observer          reads tables and mails during the run
collection        collects the evidence, secret_search part of it; checks compares it with the invariants
"""
