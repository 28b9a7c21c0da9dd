"""What a desk could lose: exposure, and value at risk by historical simulation."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from quantum_pulse.demo.operations import Engine

#: The trading days of a year.
SCENARIOS: Final = 250
#: One day in a hundred may be worse than the value at risk.
_WORST: Final = SCENARIOS // 100

#: Limits of a desk, in cents.
GROSS_LIMIT: Final = 2_500_000_000
VAR_LIMIT: Final = 30_000_000


class LimitBreached(Exception):  # noqa: N818 - it says what has happened
    """An order that would take the desk over a limit, and which."""


class Portfolio:
    """Quantities and prices of `symbols` symbols, and the daily returns that each had over a (made up) year."""

    def __init__(self, symbols: int, seed: int) -> None:
        # Few degrees of freedom give Student's t the heavy tails that markets have.
        self._returns = np.random.default_rng(seed).standard_t(4, (SCENARIOS, symbols)) * 0.012
        self._quantities = np.zeros(symbols)
        self._prices = np.zeros(symbols)

    def reserve(self, row: int, quantity: int, price: float, calls: Counter[Engine]) -> None:
        """Add `quantity` of the symbol at `row` to the desk at `price` cents, unless that breaks a limit.

        As is usual before a trade, an order counts as if it were filled already. `calls` is where the blocks are
        counted. Raises LimitBreached.
        """
        calls[Engine.RISK] += 1
        with Engine.RISK:
            self._prices[row] = price
            quantities = self._quantities.copy()
            quantities[row] += quantity
            values = quantities * self._prices
            calls[Engine.RISK_EXPOSURE] += 1
            with Engine.RISK_EXPOSURE:
                gross = float(np.abs(values).sum())
                if gross > GROSS_LIMIT:
                    raise LimitBreached(f"gross exposure of {gross / 100:,.0f}")
            calls[Engine.RISK_VAR] += 1
            with Engine.RISK_VAR:
                var = -float(np.partition(self._returns @ values, _WORST)[_WORST])
                if var > VAR_LIMIT:
                    raise LimitBreached(f"value at risk of {var / 100:,.0f}")
            self._quantities = quantities
