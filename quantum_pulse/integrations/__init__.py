"""Integrations with frameworks: each is a module with a function `instrument`, and is imported by whoever uses it.

``from quantum_pulse.integrations import asgi`` and ``app = asgi.instrument(app)`` record a web service.
"""
