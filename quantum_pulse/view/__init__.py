"""Results as text and HTML. No arithmetic but rounding."""
