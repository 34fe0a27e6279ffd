"""Build of the compiled event kernels: plain C in shared libraries, loaded with ctypes."""

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, ExecError, PlatformError

HIGGS = Path("simulators/higgs_tautau")
KERNELS = {f"fairuniverse.simulators.higgs_tautau._{name}": HIGGS / name for name in ("kernel", "fast")}
FLAGS = [
    "-O3",
    "-std=c11",
    "-fno-math-errno",
    "-fno-trapping-math",
    # Every instruction set and compiler has to give the same bits.
    "-ffp-contract=off",
]


class BuildKernels(build_ext):
    """Compile each kernel without the Python headers: it knows nothing of Python."""

    def build_extensions(self):  # noqa: D102
        # Python's own linker flags are for modules of Python, and not every compiler takes them.
        if compiler := os.environ.get("CC"):
            self.compiler.set_executables(linker_so=f"{compiler} -shared")
        super().build_extensions()

    def build_extension(self, ext):  # noqa: D102
        try:
            super().build_extension(ext)
        except (CCompilerError, ExecError, OSError) as error:
            raise PlatformError(
                f"{error}\n{ext.name} needs a C compiler: install gcc or clang, or "
                "`pip install ziglang` and set CC='python -m ziglang cc'"
            ) from error

    def get_export_symbols(self, ext):  # noqa: D102
        return ext.export_symbols

    def get_ext_filename(self, fullname):  # noqa: D102
        return str(Path(*fullname.split("."))) + ".so"


class AnyPythonWheel(bdist_wheel):
    """One wheel per platform serves every Python version."""

    def get_tag(self):  # noqa: D102
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[
        Extension(
            name,
            [str(source) for source in sorted(folder.glob("*.c"))],
            depends=[str(header) for header in sorted(HIGGS.glob("*/*.h"))],
            extra_compile_args=FLAGS,
            extra_link_args=FLAGS[:1],  # without it, zig first builds the libraries of its debug mode
        )
        for name, folder in KERNELS.items()
    ],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": AnyPythonWheel},
)
