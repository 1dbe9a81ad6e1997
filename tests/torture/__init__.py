"""The fault rig: real load on real processes, faults from a seed, and a checker that counts.

    make torture SEED=7 MINUTES=20 FAULTS='kill-worker-*,postgres-*'

`faults/` says what can go wrong, `schedule.py` when, `load.py` what clients do meanwhile and
`history.py` what they were told; `checker.py` holds the promises P1 to P9 against that.
"""
