"""The native core, built where there is a compiler; everything else about the project is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("quantum_pulse/core/native")

setup(
    ext_modules=[
        Extension(
            "quantum_pulse.core._native",
            sources=sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            extra_compile_args=["-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"],
            # Without a compiler the install succeeds and the Python core records, and says so once.
            optional=True,
        )
    ]
)
