"""The network that comes with this package: trained on our own fractals and nothing else."""

from __future__ import annotations

from pathlib import Path

OWN_WEIGHTS = "fractals"
OWN_MODEL = "squeezenet1_1"
# Trained at 128 pixels, shown at 96: coarser pictures, with more contrast at 32 px and less alike;
# at 64 they blur (weights/README.md has the numbers).
OWN_INPUT_SIZE = 96
OWN_FILE = Path(__file__).parent / "weights" / "fractals-squeezenet1_1.safetensors"
