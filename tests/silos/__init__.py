"""Two Matrix homeservers and two gateways on this machine: what `make silos`, `make demo`, the end-to-end tests and the
end-to-end benches stand on. Start with `python3 tests/silos/launch.py`, which makes the Python environment first."""
