#!/usr/bin/env bash
# What a GPU does, measured in one go of at most 8 minutes: its tests, then every figure of it.
#
#     bash benchmarks/gpu.sh          on the GPU; results to benchmarks/results, and to $OUT if set
#     bash benchmarks/gpu.sh small    nearly the same commands on a CPU, in small, to see that they
#                                     run; their results are thrown away
#
# $PYTHON is used where it is set. MNIST is looked for in $AIR_DATA_DIR, or in shared/ here.
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export AIR_DATA_DIR=${AIR_DATA_DIR:-$PWD/shared} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
kind=${1:-gpu}
began=$SECONDS
results=$(mktemp -d) # new, so that no older result can pass for one of now
failed=()

# Run a command for so many seconds at most, and go on to the next whatever comes of it.
step() {
    local limit=$1
    shift
    echo "== $((SECONDS - began)) s: $*"
    timeout --kill-after=5 "$limit" "$@" || failed+=("$* (exit status $?)")
}

if [ "$kind" = small ]; then
    step 80 "$python" -m pytest -q -p no:cacheprovider tests/objectives/test_recording.py
    step 300 "$python" benchmarks/throughput.py --device cpu --rounds 2 --steps 1 \
        --results "$results"
    step 75 "$python" benchmarks/gpu.py run --device cpu --seeds 0 --options="-n 2" \
        --work "$results/runs" --results "$results/gpu"
    step 300 "$python" benchmarks/objects.py --device cpu --counts 1 2 --rounds 1 --no-canvases \
        --results "$results"
else
    step 80 "$python" -m pytest -q -p no:cacheprovider -m gpu tests
    step 200 "$python" benchmarks/throughput.py --device cuda --rounds 5 --results "$results"
    step 75 "$python" benchmarks/gpu.py run --work "$results/runs" --results "$results/gpu"
    step 110 "$python" benchmarks/objects.py --device cuda --counts 1 4 12 24 --rounds 3 \
        --no-canvases --results "$results"
    for folder in benchmarks/results ${OUT:-}; do
        mkdir -p "$folder/gpu"
        cp "$results"/*-cuda.json "$folder"
        cp "$results"/gpu/*.json "$folder/gpu"
    done
fi

echo "== $((SECONDS - began)) s in all; failed: ${#failed[@]}"
printf '%s\n' ${failed[@]+"${failed[@]}"}
exit "${#failed[@]}"
