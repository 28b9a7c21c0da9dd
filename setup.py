"""The native core, built where there is a compiler; everything else about the project is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "quantum_pulse.core._native",
            sources=["quantum_pulse/core/_native.c"],
            extra_compile_args=["-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"],
            # Without a compiler the install succeeds and the Python core records, and says so once.
            optional=True,
        )
    ]
)
