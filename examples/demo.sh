#!/bin/sh
# The whole of pixmix on real photographs, without a download:
#   sh examples/demo.sh OUT
set -eu
out=${1:-demo}
here=$(dirname "$0")
mkdir -p "$out"

echo "== 1/7 photographs that scikit-image and scikit-learn ship" >&2
python "$here/photographs.py" "$out/photographs"

echo "== 2/7 fractals" >&2
pixmix generate-fractals -n 60 --size 256 -o "$out/mixing/fractals" --overwrite >/dev/null

echo "== 3/7 feature visualizations, of a network that was trained on fractals only" >&2
pixmix render-featvis --weights fractals -n 48 --size 128 -o "$out/mixing/featvis" --overwrite >/dev/null

echo "== 4/7 PixMix" >&2
pixmix bake "$out/photographs" --mixing-set "$out/mixing" -o "$out/baked" --copies 6 --overwrite \
  >/dev/null
pixmix verify "$out/baked"

echo "== 5/7 contact sheet" >&2
pixmix preview "$out/mixing/fractals" -o "$out/fractals.png" --overwrite
pixmix preview "$out/mixing/featvis" -o "$out/featvis.png" --overwrite
pixmix preview "$out/baked" -o "$out/baked.png" --overwrite
pixmix preview "$out/mixing/fractals" "$out/mixing/featvis" "$out/baked" -o "$out/sheet.png" \
  --overwrite

echo "== 6/7 report" >&2
pixmix report "$out/mixing/fractals" "$out/mixing/featvis" "$out/baked" -o "$out/report.html" \
  --overwrite

echo "== 7/7 a network trained from what was baked" >&2
OMP_NUM_THREADS=1 python "$here/train.py" "$out/baked" --val "$out/photographs" --epochs 24 --val-every 24 \
  --batch-size 6 --lr 0.02 --workers 0 >"$out/training.jsonl"
python - "$out/training.jsonl" >&2 <<'END'
import json, sys

epochs = [json.loads(line) for line in open(sys.argv[1])]
first, last, count = epochs[0], epochs[-1], epochs[0]["samples"][0]
print(
    f"In {len(epochs)} epochs the loss fell from {first['loss']:.2f} to {last['loss']:.2f}. The "
    f"network now names {round(last['val_accuracy'] * count)} of the {count} photographs. It had "
    "met these very photographs, cropped and mixed: this shows that training works, not how well."
)
END
echo "Look at $out/sheet.png, and open $out/report.html in a browser" >&2
