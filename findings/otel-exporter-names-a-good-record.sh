#!/usr/bin/env bash
# OpenTelemetry Kafka exporter 0.165.1: for one log record that is too large for the
# topic (20,000 bytes), all 100 of the request are dropped, after ConsumeLogs has
# returned no error. The log pairs the size of a good record with the client's limit.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1
(cd "$root/peers/otel" && go build -o "$dir/otel" .)
for i in $(seq -w 0 99); do
	printf 'k-%s\tm-0%s.%0*d\n' "$i" "$i" "$([ "$i" = 50 ] && echo 30000 || echo 90)" 0
done >"$dir/lines"
"$python" client.py create "$kafka" t 1 max.message.bytes=20000
"$dir/otel" "$kafka" t "$dir/lines" >"$dir/otel.log" 2>&1
expect "what ConsumeLogs returns" "ConsumeLogs: <nil>" "$(grep -m1 '^ConsumeLogs' "$dir/otel.log")"
expect "what becomes of the request" "Exporting failed. Dropping data." "$(grep -o -m1 'Exporting failed. Dropping data.' "$dir/otel.log")"
expect "why" "record size 98 exceeds max 1000000" "$(grep -o 'record size [0-9]* exceeds max [0-9]*' "$dir/otel.log" | head -1)"
expect "records in the topic: one that was sent later" 1 "$("$python" client.py count "$kafka" t)"
