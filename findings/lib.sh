# shellcheck shell=bash
# Sourced by each finding. It has a folder of its own, and ends what it has started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD/..
dir=$(mktemp -d)
pids=()

cleanup() {
	for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

fail() {
	printf 'changed: %s\n' "$*" >&2
	exit 1
}

# expect WHAT WANT GOT fails if the behaviour is another than the one that was found.
expect() {
	printf '%s: %s\n' "$1" "$3"
	[ "$2" = "$3" ] || fail "$1 was '$2'"
}

# jars NAME POM ARGUMENTS... copies the jars that a pom.xml names to $dir/NAME.
jars() {
	cp "$2" "$dir/$1.pom.xml"
	mvn -q -B -ntp -Dstyle.color=never -f "$dir/$1.pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$dir/$1" "${@:3}"
}

# port returns a port that is free now, below those of outgoing connections.
port() {
	python3 -c 'import random, socket
while True:
    p = random.randrange(20000, 32000)
    with socket.socket() as s, socket.socket() as t:
        try: s.bind(("127.0.0.1", p)); t.bind(("127.0.0.1", p + 1)); break
        except OSError: pass
print(p)'
}

# listening PORT waits until something listens there.
listening() {
	for _ in $(seq 600); do
		(: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.2
	done
	fail "nothing listens on port $1"
}

# kafka VERSION starts a broker at $kafka. start_kafka and stop_kafka restart it.
kafka() {
	jars "kafka-$1" "$root/internal/kafkatest/pom.xml" "-Dkafka.version=$1"
	local at
	at=$(port)
	kafka=127.0.0.1:$at kafka_version=$1
	cat >"$dir/kafka.properties" <<-PROPERTIES
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$((at + 1))
		listeners=CLIENT://$kafka,CONTROLLER://127.0.0.1:$((at + 1))
		advertised.listeners=CLIENT://$kafka
		listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
		controller.listener.names=CONTROLLER
		inter.broker.listener.name=CLIENT
		log.dirs=$dir/kafka
		offsets.topic.replication.factor=1
	PROPERTIES
	java -cp "$dir/kafka-$1/*" kafka.tools.StorageTool format --config "$dir/kafka.properties" --cluster-id findings-cluster-00001 >/dev/null 2>&1
	start_kafka
}

start_kafka() {
	java -Xmx512m -cp "$dir/kafka-$kafka_version/*" kafka.Kafka "$dir/kafka.properties" >>"$dir/kafka.log" 2>&1 &
	kafka_pid=$!
	pids+=("$kafka_pid")
	listening "${kafka#*:}"
}

stop_kafka() {
	kill "$kafka_pid"
	wait "$kafka_pid" || true
}

# kroxylicious FILTER starts a gateway with a filter before $kafka, at $gateway.
kroxylicious() {
	jars kroxylicious "$root/integration/gateways/pom.xml"
	local at
	at=$(port)
	gateway=127.0.0.1:$at
	cat >"$dir/kroxylicious.yaml" <<-YAML
		virtualClusters:
		  - name: gateway
		    targetCluster: {bootstrapServers: "$kafka"}
		    gateways:
		      - name: all
		        portIdentifiesNode:
		          bootstrapAddress: $gateway
		          nodeStartPort: $((at + 1))
		          nodeIdRanges: [{name: all, start: 1, end: 1}]
		filterDefinitions: [$1]
		defaultFilters: [filter]
	YAML
	java -Xmx256m -cp "$dir/kroxylicious/*" groovy.ui.GroovyMain "$root/integration/gateways/kroxylicious.groovy" "$dir/kroxylicious.yaml" >"$dir/kroxylicious.log" 2>&1 &
	pids+=($!)
	listening "$at"
}

# packages PACKAGE... installs packages of PyPI, for $python.
packages() {
	python3 -m venv "$dir/venv"
	python=$dir/venv/bin/python
	"$python" -m pip install -q --disable-pip-version-check "$@"
}
