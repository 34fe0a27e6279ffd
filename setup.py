"""Build of the compiled event kernels: plain C in shared libraries, loaded with ctypes."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = {"fairuniverse.simulators.higgs_tautau._kernel": sorted(Path("simulators/higgs_tautau/kernel").glob("*.c"))}


class BuildKernels(build_ext):
    """Compile each kernel without the Python headers: it knows nothing of Python."""

    def get_export_symbols(self, ext):  # noqa: D102
        return ext.export_symbols

    def get_ext_filename(self, fullname):  # noqa: D102
        return str(Path(*fullname.split("."))) + ".so"


setup(
    ext_modules=[
        Extension(name, [str(s) for s in sources], extra_compile_args=["-O3", "-std=c11"], libraries=["m"])
        for name, sources in KERNELS.items()
        if sources
    ],
    cmdclass={"build_ext": BuildKernels},
)
