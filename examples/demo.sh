#!/bin/sh
# The whole of pixmix on real photographs, without a download:
#   sh examples/demo.sh OUT
set -eu
out=${1:-demo}
here=$(dirname "$0")
mkdir -p "$out"

echo "== 1/6 photographs that scikit-image and scikit-learn ship" >&2
python "$here/photographs.py" "$out/photographs"

echo "== 2/6 fractals" >&2
pixmix generate-fractals -n 60 --size 256 -o "$out/mixing/fractals" --overwrite >/dev/null

echo "== 3/6 feature visualizations, of a network that was trained on fractals only" >&2
pixmix render-featvis --weights fractals -n 48 --size 128 -o "$out/mixing/featvis" --overwrite >/dev/null

echo "== 4/6 PixMix" >&2
pixmix bake "$out/photographs" --mixing-set "$out/mixing" -o "$out/baked" --copies 6 --overwrite \
  >/dev/null
pixmix verify "$out/baked"

echo "== 5/6 contact sheet" >&2
pixmix preview "$out/mixing/fractals" -o "$out/fractals.png" --overwrite
pixmix preview "$out/mixing/featvis" -o "$out/featvis.png" --overwrite
pixmix preview "$out/baked" -o "$out/baked.png" --overwrite
pixmix preview "$out/mixing/fractals" "$out/mixing/featvis" "$out/baked" -o "$out/sheet.png" \
  --overwrite

echo "== 6/6 report" >&2
pixmix report "$out/mixing/fractals" "$out/mixing/featvis" "$out/baked" -o "$out/report.html" \
  --overwrite
echo "Look at $out/sheet.png, and open $out/report.html in a browser" >&2
