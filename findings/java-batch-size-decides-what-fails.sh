#!/usr/bin/env bash
# Java client 4.4.0: for one record without a key of 100 (1 kB each), the callbacks of
# its whole batch get an error. So batch.size decides how many good records fail: 15
# by default (16 kB), all 99 with 1 MB. The errors of the good ones are not retriable.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1
jars client "$root/peers/java/pom.xml" -Pclient
"$python" client.py create "$kafka" t 1 cleanup.policy=compact
for i in $(seq -w 0 99); do
	[ "$i" = 50 ] || printf 'k-%s' "$i"
	printf '\tm-%s.%01000d\n' "$i" 0
done >"$dir/lines"
failed() {
	java -cp "$dir/client/*" "$root/peers/java/Client.java" "$kafka" t "$dir/lines" "$1" 2>"$dir/$1.log" >"$dir/$1"
	grep -v '	ok$' "$dir/$1" | grep -vc '^m-50'
}
expect "good ones that fail, default batch.size" 15 "$(failed default)"
expect "good ones that fail, one batch" 99 "$(failed one)"
