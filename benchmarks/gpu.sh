#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can show, into one folder: tests, benchmark, compute-sanitizer.
#
#   bash benchmarks/gpu.sh [--wheels FOLDER] [--out FOLDER] [--only STEP] [--quick] [--dry-run]
#   bash benchmarks/gpu.sh gather FOLDER [PYTHON]     before, on a machine with a network and a compiler: what the other lacks
#
#   --wheels FOLDER   packages from there, without a network (else pip's own sources); torch is the one that is there
#   --out FOLDER      where results go ($OUT, else gpu-results)
#   --only STEP       tests, benchmark or sanitizer alone (where a command may not run for long)
#   --quick           few repeats of the benchmark: a look, not a result
#   --dry-run         say what would be run
#
# gather: wheels for Linux x86-64 and PYTHON (3.12) beside a torch with CUDA 13, this tree among them; about 37 MB.
# PYTHON=/path/to/python chooses the interpreter, which has torch. The results: machine.txt, tests.txt and tests.xml, benchmark.txt and
# gpu.json (which belongs into benchmarks/results), sanitizer.txt. The last line says what failed, and so does the exit status.
set -uo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'gpu: %s\n' "$1" >&2; exit 2; }
usage() { sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//p' "$0"; exit "${1:-0}"; }
python=$(command -v "${PYTHON:-python3}") || fail "there is no ${PYTHON:-python3}"
# Beside torch; fitlab itself is built from this tree.
needs=(nanobind-backend numpy platformdirs cuda-core cuda-bindings cuda-pathfinder rich markdown-it-py mdurl pygments pytest pytest-timeout
       iniconfig pluggy packaging hypothesis sortedcontainers)
pinned() { for name in "${needs[@]}"; do grep -i "^$name==" constraints.txt || echo "$name"; done; }

gather() {
    local folder=$1 version=${2:-3.12} platforms=()
    for glibc in 17 24 26 27 28; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    mkdir -p "$folder"
    mapfile -t packages < <(pinned)
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$folder" "${packages[@]}" || fail "pip could not fetch all packages"
    rm -f "$folder"/fitlab-*.whl
    "$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w "$folder" . || fail "the wheel of this tree could not be built"
    du -ch "$folder"/*.whl | tail -n 1
}

wheels='' out=${OUT:-gpu-results} only='' quick='' dry=''
if [ "${1:-}" = gather ]; then
    [ $# -ge 2 ] || usage 2
    gather "$2" "${3:-3.12}"
    exit
fi
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) [ $# -ge 2 ] || usage 2; wheels=$2; shift ;;
        --out) [ $# -ge 2 ] || usage 2; out=$2; shift ;;
        --only)
            case ${2:-} in tests|benchmark|sanitizer) only=$2 ;; *) usage 2 ;; esac
            shift ;;
        --quick) quick=--quick ;;
        --dry-run) dry=1 ;;
        -h|--help) usage ;;
        *) printf 'gpu: there is no option %s\n' "$1" >&2; usage 2 ;;
    esac
    shift
done
[ -z "$wheels" ] || compgen -G "$wheels/fitlab-*.whl" >/dev/null || fail "$wheels holds no wheel of fitlab: fill it with 'bash benchmarks/gpu.sh gather $wheels'"

tree=$PWD failed=()
# Runs a step with its output on the terminal and in a log; a step that fails does not keep the others from being run.
step() {
    local log=$1 seconds=$2
    shift 2
    if [ -n "$dry" ]; then printf '%s: %s\n' "$log" "$*"; return; fi
    printf '== %s\n' "$log"
    timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee -a "$out/$log.txt"
    local status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || failed+=("$log ($status)")
}
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

if [ -z "$dry" ]; then
    mkdir -p "$out" || fail "$out cannot be made: name another folder with --out"
    out=$(cd "$out" && pwd)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    site=$work/site
    if [ -n "$wheels" ]; then
        install=(--no-index --no-deps "$wheels"/*.whl)
    else
        mapfile -t packages < <(pinned)
        install=(--no-deps "${packages[@]}" .)
    fi
    "$python" -m pip --disable-pip-version-check install --quiet --no-compile --no-warn-script-location --target "$site" "${install[@]}" \
        || fail "the packages could not be installed"
    # Beside the packages that were installed, not in the tree, whose sim holds no compiled core.
    mkdir "$work/run" && cp -r benchmarks tests pyproject.toml "$work/run"
    cd "$work/run" || exit 2
    export PYTHONPATH=$site PYTHONUNBUFFERED=1 FITLAB_CUDA_CACHE=$work/kernels
    unset OMP_NUM_THREADS
fi
tests=("$python" -m pytest -m gpu tests/sim/cuda/test_gpu.py -p no:cacheprovider)
step machine 60 nvidia-smi
step machine 120 "$python" -c 'import sys, torch, cuda.bindings, cuda.core
print("python", sys.version.split()[0])
print("torch", torch.__version__, "with CUDA", torch.version.cuda)
print("cuda-core", cuda.core.__version__, "cuda-bindings", cuda.bindings.__version__)
from sim.cuda.launch import reason_why_not
print("CUDA kernels:", reason_why_not() or "ready")
raise SystemExit(bool(reason_why_not()))'
if [ ${#failed[@]} != 0 ] && [ "${failed[-1]}" = "machine (1)" ]; then fail "no kernel can run here (see $out/machine.txt)"; fi
wanted tests && step tests 560 "${tests[@]}" --junitxml "$out/tests.xml"
if wanted benchmark; then
    step benchmark 560 "$python" -m benchmarks gpu --save $quick
    [ -n "$dry" ] || cp benchmarks/results/gpu.json "$out" 2>/dev/null
fi
if wanted sanitizer; then
    # Without torch's cache of memory every tensor has an end that the sanitizer knows.
    for tool in memcheck initcheck; do
        step sanitizer 280 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
            "${tests[@]}" -x -k "bits or transfers" --timeout 0
    done
fi
[ -n "$dry" ] && exit 0
cd "$tree" || exit 2
if [ ${#failed[@]} = 0 ]; then printf 'gpu: all done; results in %s\n' "$out"; exit 0; fi
printf 'gpu: failed: %s; results in %s\n' "${failed[*]}" "$out"
exit 1
