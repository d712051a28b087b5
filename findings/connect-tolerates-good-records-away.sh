#!/usr/bin/env bash
# Kafka Connect 4.3.1, errors.tolerance=all: for one record that the topic does not
# take (without a key, compacted), the 99 good ones of its batch are dropped, too. The
# connector stays RUNNING, and its offset is behind all of them.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1
jars connect "$root/peers/java/pom.xml" -Pconnect
javac -cp "$dir/connect/*" -d "$dir/transform" "$root/peers/java/KeyOf.java"
for i in $(seq 0 99); do
	[ "$i" = 50 ] || printf 'k-%s' "$i"
	printf '\tm-%s\n' "$i"
done >"$dir/lines"
rest=$(port)
cat >"$dir/worker.properties" <<PROPERTIES
bootstrap.servers=$kafka
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=$dir/offsets
offset.flush.interval.ms=1000
plugin.discovery=only_scan
listeners=http://127.0.0.1:$rest
PROPERTIES
cat >"$dir/source.properties" <<PROPERTIES
name=file
connector.class=org.apache.kafka.connect.file.FileStreamSourceConnector
tasks.max=1
file=$dir/lines
topic=t
errors.tolerance=all
transforms=key
transforms.key.type=KeyOf
producer.override.linger.ms=500
PROPERTIES
"$python" client.py create "$kafka" t 1 cleanup.policy=compact
java -Xmx256m -cp "$dir/transform:$dir/connect/*" org.apache.kafka.connect.cli.ConnectStandalone "$dir/worker.properties" "$dir/source.properties" >"$dir/connect.log" 2>&1 &
pids+=($!)
for _ in $(seq 120); do # until the offset is stored: it is the length of the file
	grep -aq "\"position\":$(wc -c <"$dir/lines")" "$dir/offsets" 2>/dev/null && break
	sleep 1
done
expect "offset stored" yes "$(grep -aq "\"position\":$(wc -c <"$dir/lines")" "$dir/offsets" && echo yes)"
expect "state" "RUNNING RUNNING" "$("$python" -c 'import json, sys, urllib.request
s = json.load(urllib.request.urlopen(sys.argv[1]))
print(s["connector"]["state"], s["tasks"][0]["state"])' "http://127.0.0.1:$rest/connectors/file/status")"
expect "records in the topic, of 99 good ones" 0 "$("$python" client.py count "$kafka" t)"
