"""Statistical analyses, as pure functions of samples and frames. Derived and calibrated in `docs/statistics.md`.

Each is imported when it is first used: whoever needs one does not wait for all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

#: Name -> the module of this package that has it.
_MODULES = {
    "Causes": "causes",
    "ChangePoint": "changes",
    "Comparison": "compared",
    "Contrast": "contrasts",
    "Correlations": "windows",
    "Drift": "changes",
    "Explanation": "explanation",
    "change_points": "changes",
    "check_budgets": "budgets",
    "compare_samples": "comparison",
    "contrast": "contrasts",
    "correlate": "correlation",
    "decompose": "decomposition",
    "drift": "changes",
    "explain": "explanation",
}


if not TYPE_CHECKING:  # for type checkers, a name that is not listed above is a mistake

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
