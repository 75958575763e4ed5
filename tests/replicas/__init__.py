"""Reads by replicas: real streaming ones, that are stopped, killed and promoted."""
