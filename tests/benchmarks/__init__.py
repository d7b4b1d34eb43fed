"""`make bench`: what the middleware costs, measured beside others and beside itself (A/A), figure by figure.

__main__     the command
catalogue    the benches by name; each module has `measure`, `tables`, `plots`
sizes        how much of everything: the full run, `--quick`, and what the smoke test takes
lab          folders, databases and progress for a bench
rounds       arms in random order, round by round
spread       PURE  medians, quartiles, ratios within a round
goals        PURE  the goals, and whether the figures reach them
presentation PURE  tables and plots as values
document     PURE  the report as Markdown, with its plots
plot         PURE  bars with their spread, as SVG
machine      what ran it
generator    the load generator's process
servers      the contenders behind real servers
bulk         many keys and outcomes by SQL of our own
apps/        the contenders
"""
