"""`make bench`: what the middleware costs, measured beside others and beside itself (A/A), figure by figure.

- `__main__` is the command; `document` has the benches by name. Each has `measure`, `tables` and `plots`.
- `lab` gives a bench its folder, databases and rounds, `sizes` says how much it measures, `machine` what ran it.
- `hot_paths` runs `hot_path` in processes of their own: on each of `pythons`, and under valgrind for `instructions`.
- `apps` has the contenders, `arms` calls them directly, `servers` runs them; `generator` sends requests over HTTP.
- `on_off` is a command of its own: what each of the `optimizations` on the request path gains.
- `against` is another one: before and after, this checkout and another one by turns.
- `simulation` is a third one: what a load does in days, on more machines than there are here.
"""
