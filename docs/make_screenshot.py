"""A screenshot of a report, by headless Chromium (Debian: apt-get install chromium).

python docs/make_screenshot.py demo/report.html docs/report.jpg
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pixmix_cli.storage.images import decode_rgb, encode

SIZE = "1200,1500"  # pixels of the window
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def main() -> None:
    """Open the page and keep what is seen."""
    page, picture = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        place = [f"--user-data-dir={folder}/profile", f"--window-size={SIZE}"]
        command = [browser, *FLAGS, *place, f"--screenshot={shot}", page.as_uri()]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        pixels = decode_rgb(shot.read_bytes(), "screenshot")
    picture.write_bytes(encode(pixels, "jpeg", quality=80))


if __name__ == "__main__":
    main()
