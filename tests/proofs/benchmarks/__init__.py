"""`make bench`: what the middleware costs, measured beside others and beside itself (A/A), figure by figure.

- `__main__` is the command, `catalogue` the benches by name; each has `measure`, `tables`, `plots`.
- `sizes`: how much of everything. `lab`: folders, databases and progress for a bench. `machine`: what ran it.
- `rounds`: arms in random order, round by round. `spread` (pure): medians, quartiles, ratios within a round.
- `goals` (pure): the goals, and whether the figures reach them.
- `presentation`, `document`, `plot` (pure): tables and bars as values, as Markdown, as SVG.
- `generator`: the load generator's process; `wire`: its connections. `servers`: contenders behind real servers.
- `arms`: contenders called directly. `apps`: the contenders. `bulk`: many keys and outcomes by SQL of our own.
"""
