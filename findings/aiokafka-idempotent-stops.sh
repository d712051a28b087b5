#!/usr/bin/env bash
# aiokafka 0.14.0, idempotent: after a batch that the topic does not take, with others
# behind it, no batch has a sequence number that the broker expects. Each later message
# fails, until the producer is made anew. Not idempotent, it goes on.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1 aiokafka==0.14.0
for i in $(seq 0 9); do
	printf 'k-%s\tm-00%s.%0*d\n' "$i" "$i" "$([ "$i" = 5 ] && echo 30000 || echo 100)" 0
done >"$dir/lines"
for idempotent in no yes; do
	"$python" client.py create "$kafka" "t-$idempotent" 1 max.message.bytes=20000
	"$python" "$root/peers/clients/aio.py" "$kafka" "t-$idempotent" "$dir/lines" default "$idempotent" >"$dir/$idempotent" 2>/dev/null
	printf 'idempotent %s, the next message: %s\n' "$idempotent" "$(grep '^next' "$dir/$idempotent")"
done
expect "records in the topic, not idempotent" 10 "$("$python" client.py count "$kafka" t-no)"
expect "records in the topic, idempotent" 5 "$("$python" client.py count "$kafka" t-yes)"
