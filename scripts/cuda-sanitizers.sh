#!/usr/bin/env bash
# The conformance tests on a GPU under compute-sanitizer: every part of them with each of its four tools, as many at a
# time as there are cores. Prints a line for each, and fails if one does.
#
#     scripts/cuda-sanitizers.sh [PART…]      # all parts; or some, such as `attention::agrees linear`
#
# Only kernels of this project are checked. initcheck does not see what the kernels of cuBLASLt write, and racecheck
# stops in them with an illegal address (an H200, CUDA 13.0), so that these two check the ops that multiply with the
# products of this project. Every buffer is an allocation of its own. `TESTS` is the test binary, built here if it is
# not set; `OUT` a directory for the logs, a temporary one if it is not set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${TESTS:-} ]]; then
    TESTS=$(cargo test --locked --workspace --test conformance --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*conformance-[^"]*\)".*/\1/p' | tail -n1)
fi
TESTS=$(realpath "$TESTS")
OUT=${OUT:-$(mktemp -d)}
export TESTS OUT BITFIT_REQUIRE=GPU BITFIT_CUDA_MEMORY=separate
cd bitfit-cuda # where a test of this package runs

# The long parts first, attention split into its checks; then every other list of checks in the source.
parts=("$@")
if [[ ${#parts[@]} == 0 ]]; then
    parts=(
        attention::agrees_with_the_reference_on attention::queries attention::a_ attention::gradients
        attention::inference attention::scores attention::agrees_with_the_reference
        add_norm adamw linear feed_forward
    )
    for part in $(grep -rhoP 'list!\["\K\w+' ../bitfit-core/src | sort); do
        case $part in attention | add_norm | adamw | linear | feed_forward) ;; *) parts+=("$part") ;; esac
    done
fi

# TOOL PART TEST
one() {
    local log=$OUT/$1.${2//:/_}.$3.log start=$SECONDS result=0
    BITFIT_CONFORMANCE=$2 compute-sanitizer --tool "$1" --kernel-regex kns=bitfit_ --error-exitcode 1 \
        "$TESTS" --test-threads 1 --exact "$3" >"$log" 2>&1 || result=$?
    grep -q ' 1 passed' "$log" || result=1
    printf '%s %s %s: exit %d in %d s; %s\n' "$1" "$2" "$3" $result $((SECONDS - start)) \
        "$(grep -hoE '[A-Z]* ?SUMMARY.*|test result: [a-zA-Z]*. [0-9]* passed' "$log" | tr '\n' ' ')"
    return $((result != 0))
}
export -f one

for part in "${parts[@]}"; do
    for tool in racecheck initcheck memcheck synccheck; do
        case $tool:$part in
            racecheck:linear* | racecheck:feed_forward* | racecheck:matmul* | initcheck:linear* | initcheck:feed_forward* | initcheck:matmul*)
                tests="multiplies_without_cublaslt_in_f32 multiplies_without_cublaslt_in_bfloat16" ;;
            *) tests="passes_in_f32 passes_in_bfloat16" ;;
        esac
        for test in $tests; do echo "$tool $part $test"; done
    done
done | xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' one
