"""Captures for other tools: raw samples, statistics, traces, metrics, each in a format that those already read."""
