"""Real photographs without a download: those that scikit-image and scikit-learn ship.

    python examples/photographs.py OUT

writes an ImageFolder, OUT/<class>/<name>, of 18 pictures in 8 classes.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

# class: files, as the packages call them
SKIMAGE = {
    "animal": ["chelsea.png"],
    "person": ["astronaut.png", "camera.png"],
    "sky": ["hubble_deep_field.jpg", "moon.png", "rocket.jpg"],
    "texture": ["brick.png", "grass.png", "gravel.png"],
    "thing": ["coffee.png", "coins.png", "motorcycle_left.png", "motorcycle_right.png"],
    "tissue": ["cell.png", "ihc.png", "retina.jpg"],
}
SKLEARN = {"plant": ["flower.jpg"], "place": ["china.jpg"]}


def package_folder(name: str) -> Path:
    """Where an installed package lies."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"{name} is not installed. Try: pip install 'pixmix[demo]'")
    return Path(spec.origin).parent


def main() -> None:
    """Copy the photographs."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/photographs.py OUT")
    out = Path(sys.argv[1])
    sources = [
        (package_folder("skimage") / "data", SKIMAGE),
        (package_folder("sklearn") / "datasets" / "images", SKLEARN),
    ]
    count = 0
    for folder, classes in sources:
        for name, files in classes.items():
            for file in files:
                (out / name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file, out / name / file)
                count += 1
    print(f"{count} photographs in {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
