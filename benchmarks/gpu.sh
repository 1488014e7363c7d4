#!/usr/bin/env bash
# What a GPU does, measured in one go of at most 8 minutes: its tests, then every figure of it.
#
#     bash benchmarks/gpu.sh          on the GPU; results in benchmarks/results, also copied to $OUT
#     bash benchmarks/gpu.sh small    the same commands on a CPU, in small: results in a folder of
#                                     their own, which say nothing but that all of it runs
#
# $PYTHON is used where it is set. MNIST is looked for in $AIR_DATA_DIR, or shared/ here.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export AIR_DATA_DIR=${AIR_DATA_DIR:-$PWD/shared} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
kind=${1:-gpu}
began=$SECONDS
failed=()

# Run a command for so many seconds at most, and go on to the next whatever comes of it.
step() {
    local limit=$1
    shift
    echo "== $((SECONDS - began)) s: $*"
    timeout --kill-after=5 "$limit" "$@" || failed+=("$* (exit status $?)")
}

if [ "$kind" = small ]; then
    results=$(mktemp -d)
    step 80 "$python" -m pytest -q -p no:cacheprovider tests/objectives/test_recording.py
    step 200 "$python" benchmarks/throughput.py --device cpu --rounds 1 --steps 1 --results "$results"
    step 75 "$python" benchmarks/gpu.py run --device cpu --seeds 0 --options="-n 2" \
        --work "$results/runs" --results "$results/gpu"
    step 110 "$python" benchmarks/objects.py --device cpu --counts 1 2 --rounds 1 --no-canvases \
        --results "$results"
else
    results=benchmarks/results
    step 80 "$python" -m pytest -q -p no:cacheprovider -m gpu tests
    step 200 "$python" benchmarks/throughput.py --device cuda --rounds 5
    step 75 "$python" benchmarks/gpu.py run --seeds 0-1
    step 110 "$python" benchmarks/objects.py --device cuda --counts 1 4 12 24 --rounds 3 --no-canvases
fi

if [ -n "${OUT:-}" ]; then
    cp "$results"/*-cuda.json "$OUT" 2>/dev/null
    mkdir -p "$OUT/gpu" && cp "$results"/gpu/*.json "$OUT/gpu" 2>/dev/null
fi
echo "== $((SECONDS - began)) s in all; failed: ${#failed[@]}"
printf '%s\n' "${failed[@]+"${failed[@]}"}"
exit "${#failed[@]}"
