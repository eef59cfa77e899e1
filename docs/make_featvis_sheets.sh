#!/bin/sh
# The sheets of docs/featvis.md: the first hundred pictures of each network, none picked.
#
#     sh docs/make_featvis_sheets.sh WORK DOCS [CHECKPOINT_1_1 [CHECKPOINT_1_0]]
#
# The checkpoints are ImageNet weights of squeezenet1_1 and squeezenet1_0; without one its sheet is
# left as it is.
set -eu
work=$1 docs=$2

sheet() { # NAME OPTION...
    name=$1
    shift
    pixmix render-featvis -q -n 100 --size 128 -o "$work/$name" --overwrite "$@" >/dev/null
    pixmix preview -q "$work/$name" --count 100 --cell 96 -o "$work/$name.png" --overwrite >/dev/null
    # quality 75 of 4:2:0, so that a sheet takes no more than 600 KB
    python -c 'import sys; from PIL import Image
Image.open(sys.argv[1]).save(sys.argv[2], quality=75, optimize=True)' \
        "$work/$name.png" "$docs/featvis-$name.jpg"
    echo "$docs/featvis-$name.jpg"
}

mkdir -p "$work"
sheet fractals --weights fractals
if [ -n "${3:-}" ]; then sheet squeezenet1_1 --model squeezenet1_1 --weights "$3"; fi
if [ -n "${4:-}" ]; then sheet squeezenet1_0 --model squeezenet1_0 --weights "$4"; fi
