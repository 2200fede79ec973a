"""
The measurements: `make bench` runs all, `python -m benchmarks NAME` one.

Ratios and medians are what to read: machines are noisy. Each table has its floor or peer measured in the same run.
"""
