"""Tests of many machines on one: gateways, replicas, clusters, monitoring. `make test-cluster`."""
