"""Pure functions: samples and frames in, frozen results out. Derived and calibrated in `docs/statistics.md`."""

from quantum_pulse.analysis.comparison import Comparison, compare_samples

__all__ = ["Comparison", "compare_samples"]
