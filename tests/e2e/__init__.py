"""End-to-end tests on two real Synapses and two gateways: `python3 tests/silos/launch.py e2e [part of a test's name]`."""
