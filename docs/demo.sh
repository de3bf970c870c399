#!/usr/bin/env bash
# The whole pipeline on a synthetic CT source: docs/demo.sh [BIN [FOLDER]]. BIN holds `imagemask`.
# DEMO_SEED draws other patients, another split and other weights. Fails where the median test patient is not found.
set -euo pipefail
bin=$(cd "${1:-.venv/bin}" && pwd)
seed=${DEMO_SEED:-0}
here=${2:-demo}
export PATH="$bin:$PATH"
if [ -e "$here" ] && [ ! -e "$here/.imagemask-demo" ]; then
  echo "$here is there already, and no demo has made it: give another folder" >&2
  exit 2
fi
rm -rf "$here"
mkdir -p "$here"
cd "$here"
touch .imagemask-demo

say() {
  printf '\n$ %s\n' "$*"
  "$@"
}

say imagemask phantom lung-tumor --patients 24 --size 128 --slices 24 --seed "$seed"
say imagemask check lung-tumor
say imagemask build lung-tumor
say imagemask split --by-patient --seed "$seed"
say imagemask verify
say imagemask audit
say imagemask preview
say imagemask train --epochs "${DEMO_EPOCHS:-16}" --seed "$seed"
say imagemask evaluate --raw raw/lung-tumor
say imagemask report
say imagemask report runs/lung-tumor/001

count() { find "$1" -type f | wc -l | tr -d ' '; }
dataset=datasets/lung-tumor
run=runs/lung-tumor/001
median=$(awk -F, '$1 == "dice_median" { print $3; exit }' "$run/test/evaluation.csv")
printf '\n%-44s %.3f\n' 'Dice of the median test patient' "$median"
if [ -z "${DEMO_EPOCHS:-}" ] && ! awk -v dice="$median" 'BEGIN { exit !(dice >= 0.80) }'; then
  echo 'which is under 0.80: something is wrong with this machine, or with this version' >&2
  exit 1
fi
printf '\n%-44s %s\n' 'What was made' 'Where to look'
printf '%-44s %s\n' \
  "$(count raw) raw files of 24 phantom patients" "$here/raw/lung-tumor" \
  "$(count $dataset/images) image/mask pairs" "$here/$dataset/images, masks" \
  "a row for each, with digest and patient" "$here/$dataset/manifest.csv" \
  "recipe, licence, labels, counts" "$here/$dataset/dataset.json" \
  "$(find $dataset/train -name '*.png' | wc -l | tr -d ' ') files to train on, by patient" "$here/$dataset/train, valid, test" \
  "a picture of it: look at this first" "$here/$dataset/preview.png" \
  "a model, and its epochs as a curve" "$here/$run/best.keras, curves.png" \
  "what it predicts after each epoch" "$here/$run/previews" \
  "its scores per patient and image" "$here/$run/test/evaluation.csv, per_patient.csv, per_image.csv" \
  "its worst, median and best cases" "$here/$run/test/cases.png" \
  "what to use, cite and know, for others" "$here/$dataset/README.md, croissant.json" \
  "the run on one page" "$here/$run/report.html" \
  "the data on one page: open this" "$here/$dataset/report.html"
