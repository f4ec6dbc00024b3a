# What .ci/run and .ci/full share. Sourced at the project's root.
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
shared=$(cd .. && pwd)/shared
tools=${CI_TOOLS:-$(pwd)/target/ci}
mkdir -p "$tools"
export STREAMGAUGE="${CARGO_TARGET_DIR:-$(pwd)/target}/release/streamgauge"
export PEERS_BIN=$tools/peers/usr/bin
python=$tools/venv/bin/python
steps=()

# Runs a step, says how long it took, and ends the run if it fails.
step() {
  local name=$1 from=$SECONDS
  shift
  echo "=== $name"
  if ! "$@"; then
    echo "=== FAILED: $name after $((SECONDS - from)) s"
    exit 1
  fi
  steps+=("$name: $((SECONDS - from)) s")
}

# Starts a step beside those that follow, which leave a core idle or wait; `join` shows what it said and ends the run if it
# failed.
declare -A beside_pids=() beside_from=()
beside() {
  local name=$1
  shift
  "$@" > "$(beside_log "$name")" 2>&1 &
  beside_pids[$name]=$! beside_from[$name]=$SECONDS
  trap 'kill "${beside_pids[@]}" 2> /dev/null || true' EXIT
}

join() {
  local name=$1 status=0
  wait "${beside_pids[$name]}" || status=$?
  unset "beside_pids[$name]"
  step "$name" cat "$(beside_log "$name")"
  steps[-1]="$name: $((SECONDS - beside_from[$name])) s beside others"
  if ((status != 0)); then
    echo "=== FAILED: $name"
    exit 1
  fi
}

beside_log() {
  echo "$tools/beside-${1//[^a-zA-Z0-9]/-}.log"
}

need_shared() {
  if [[ ! -d $shared/conformance || ! -x $shared/peers/get_peers.sh && ! -r $shared/peers/get_peers.sh ]]; then
    echo "=== FAILED: $shared is not there: the interop and conformance tests did not run"
    exit 1
  fi
}

install_peers() {
  bash "$shared/peers/get_peers.sh" "$tools/peers"
}

install_python() {
  [[ -x $python ]] || python3 -m venv "$tools/venv"
  "$python" -m pip install -q --disable-pip-version-check -r "$shared/conformance/requirements.txt" httpx
}

# What reads Parquet offline, with an S3-compatible server; PySpark needs Java.
install_offline() {
  "$python" -m pip install -q --disable-pip-version-check duckdb duckdb-extensions duckdb-extension-httpfs polars pyarrow pandas pyspark 'moto[server]'
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1 || true)
  if ((${version:-0} < 17)); then
    apt-get -qq update && apt-get -qq install -y --no-install-recommends openjdk-17-jre-headless > /dev/null \
      || apt-get -qq install -y --no-install-recommends default-jre-headless > /dev/null
  fi
}

# A JDK, which builds the jobs that a real Flink runs.
install_jdk() {
  command -v javac > /dev/null \
    || { apt-get -qq update && apt-get -qq install -y --no-install-recommends openjdk-17-jdk-headless > /dev/null; } \
    || apt-get -qq install -y --no-install-recommends default-jdk-headless > /dev/null
}

interop() {
  (cd .ci/interop && "$python" "$@")
}

# The counts of a conformance run must reach a floor; what fails beyond it is known and listed in docs/.
at_least() {
  local what=$1 floor=$2 log=$3 passed
  passed=$(sed -n 's/^\([0-9]\{1,\}\) passed,.*/\1/p' "$log" | tail -n 1)
  echo "$what: ${passed:-0} passed, at least $floor needed"
  ((${passed:-0} >= floor))
}

server_command="$STREAMGAUGE --data {dir}/data --listen 127.0.0.1:{port} --retention 0 --scrape-self false --log-level warn"

conformance_scripts() {
  local log=$tools/conformance-scripts.log
  (cd "$shared/conformance" && PYTHONDONTWRITEBYTECODE=1 "$python" promqltest.py --server-cmd "$server_command" -j 2 \
    --at-modifier promqltest) > "$log" 2>&1 || true
  scripts_passed "$1" "$log"
}

# As before, with what was loaded in segments, or with --parquet.after 0 in Parquet, before it is asked for.
conformance_through_storage() {
  local log=$tools/conformance-storage.log
  (cd .ci/interop && CONFORMANCE_DIR=$shared/conformance "$python" through_storage.py \
    --server-cmd "$server_command $2" -j 2 --at-modifier "$shared/conformance/promqltest") > "$log" 2>&1 || true
  scripts_passed "$1" "$log"
}

scripts_passed() {
  tail -n 30 "$2"
  at_least "PromQL scripts" "$1" "$2"
}

reference_command="$PEERS_BIN/prometheus --config.file=/dev/null --storage.tsdb.path={dir}/data
  --web.listen-address=127.0.0.1:{port} --web.enable-remote-write-receiver --storage.tsdb.retention.time=100y
  --storage.tsdb.min-block-duration=24h --storage.tsdb.max-block-duration=24h --log.level=warn
  --enable-feature=promql-experimental-functions,native-histograms,promql-delayed-name-removal,promql-duration-expr"

conformance_comparison() {
  local log=$tools/conformance-comparison.log
  (cd "$shared/conformance" && PYTHONDONTWRITEBYTECODE=1 "$python" compare_queries.py \
    --reference-cmd "${reference_command//$'\n'/ }" --candidate-cmd "$server_command" compliance/queries.yml) > "$log" 2>&1 || true
  tail -n 15 "$log"
  at_least "comparison with Prometheus" "$1" "$log"
}

summary() {
  printf '%s\n' "=== done in $SECONDS s" "${steps[@]}"
}
