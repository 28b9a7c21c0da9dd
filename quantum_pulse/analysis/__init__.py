"""Statistical analyses, as pure functions of samples and frames. Derived and calibrated in `docs/statistics.md`."""

from quantum_pulse.analysis.budgets import check_budgets
from quantum_pulse.analysis.causes import Causes
from quantum_pulse.analysis.changes import ChangePoint, Drift, change_points, drift
from quantum_pulse.analysis.compared import Comparison
from quantum_pulse.analysis.comparison import compare_samples
from quantum_pulse.analysis.contrasts import Contrast, contrast
from quantum_pulse.analysis.correlation import correlate
from quantum_pulse.analysis.decomposition import decompose
from quantum_pulse.analysis.explanation import Explanation, explain
from quantum_pulse.analysis.windows import Correlations

__all__ = [
    "Causes",
    "ChangePoint",
    "Comparison",
    "Contrast",
    "Correlations",
    "Drift",
    "Explanation",
    "change_points",
    "check_budgets",
    "compare_samples",
    "contrast",
    "correlate",
    "decompose",
    "drift",
    "explain",
]
