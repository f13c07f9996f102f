#!/usr/bin/env bash
# tests/fuzz/run.sh SECONDS [TARGET…] - lets libFuzzer search each target for so long, and says what it found.
# Wants cargo-fuzz (`cargo install cargo-fuzz`) and a nightly toolchain; without them it says so and ends with 77.
# What is found lies in tests/fuzz/artifacts/TARGET; corpora grow in tests/fuzz/corpus/TARGET. PARALLEL=N runs N at once.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET…]}
shift
nightly=$(rustup toolchain list 2>/dev/null | grep -o '^nightly[^ ]*' | head -n 1) || true
if [ -z "$nightly" ] || ! cargo fuzz --version >/dev/null 2>&1; then
    echo "tests/fuzz/run.sh: SKIPPED: it wants cargo-fuzz and a nightly toolchain" >&2
    exit 77
fi
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's|^path = "targets/\(.*\)\.rs"$|\1|p' tests/fuzz/Cargo.toml)
[ $# -eq 0 ] || targets=("$@")
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

search() { # TARGET
    local seeds=("tests/fuzz/corpus/$1")
    mkdir -p "${seeds[0]}"
    [ ! -d "tests/fuzz/seeds/$1" ] || seeds+=("tests/fuzz/seeds/$1")
    case $1 in
    config) seeds+=(tests/configs/valid tests/configs/invalid) ;;
    template) seeds+=(tests/../templates/web) ;;
    esac
    # One input: 64 KiB, 10 seconds, 1 GiB.
    "$logs/bin/$1" "${seeds[@]}" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="tests/fuzz/artifacts/$1/" >"$logs/$1" 2>&1
}
cargo "+$nightly" fuzz build --fuzz-dir tests/fuzz >"$logs/build" 2>&1 || { cat "$logs/build" >&2; exit 1; }
# Copies, so that whoever goes on working here changes nothing that runs.
mkdir "$logs/bin"
for target in "${targets[@]}"; do
    for binary in tests/fuzz/target/*/release/"$target"; do cp "$binary" "$logs/bin/"; done
    mkdir -p "tests/fuzz/artifacts/$target"
done

failed=0 running=()
finish() { # TARGET PID
    if wait "$2"; then
        printf '%-12s %12s executions, no finding\n' "$1" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$1")"
    else
        printf '%-12s FOUND SOMETHING:\n' "$1"
        tail -n 40 "$logs/$1"
        failed=1
    fi
}
for target in "${targets[@]}"; do
    search "$target" &
    running+=("$target $!")
    if [ ${#running[@]} -ge "${PARALLEL:-1}" ]; then
        read -r name pid <<<"${running[0]}"
        finish "$name" "$pid"
        running=("${running[@]:1}")
    fi
done
for one in "${running[@]}"; do
    read -r name pid <<<"$one"
    finish "$name" "$pid"
done
exit "$failed"
