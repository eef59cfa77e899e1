"""The part of the build that pyproject.toml cannot say: compiled kernels go into the wheel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithKernels(build_py):
    """Copies the packages, then compiles their kernels beside them.

    Without Numba, or with PIXMIX_WHEEL=plain, the wheel has none: they are compiled by the first
    run that needs them, on the user's machine.
    """

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode or os.environ.get("PIXMIX_WHEEL") == "plain":
            return
        sys.path.insert(0, str(ROOT))
        from pixmix_kernels.__main__ import build, say, shipped
        from pixmix_kernels.folders import remove_other_stamps
        from pixmix_kernels.modules import stamp

        into = Path(self.build_lib).resolve() / "pixmix_kernels" / "lib" / stamp()
        for problem in build(into, shipped()):
            say(f"the wheel has no compiled kernels: {problem}")
        remove_other_stamps(into)  # a build folder that was used before


class WithLibraries(Distribution):
    """Says that there is machine code, so that a wheel is for one platform."""

    def has_ext_modules(self) -> bool:
        """Whether there is."""
        return os.environ.get("PIXMIX_WHEEL") != "plain"


class PlatformWheel(bdist_wheel):
    """A wheel for this kind of machine and any Python: no library here knows Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """python, ABI and platform of the file name."""
        return "py3", "none", super().get_tag()[2]


setup(
    distclass=WithLibraries,
    cmdclass={"build_py": BuildWithKernels, "bdist_wheel": PlatformWheel},
)
