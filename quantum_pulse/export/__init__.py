"""Export captures for other tools: raw samples, statistics, traces and metrics, in formats that these already read."""
