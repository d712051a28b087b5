#!/usr/bin/env bash
# kafka-python 3.0.12 with its defaults (idempotent): once a message was too large for
# the topic, a message of 5 bytes that is sent later fails as too large, too, and is
# not in the topic. Not idempotent, it is written.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1 kafka-python==3.0.12
cat >"$dir/send.py" <<'PYTHON'
import sys

from kafka import KafkaProducer

producer = KafkaProducer(bootstrap_servers=sys.argv[1], enable_idempotence=sys.argv[3] == "yes")
said = []
for value in (b"first", bytes(30000), b"small"):
    try:
        producer.send(sys.argv[2], value, key=b"k").get(30)
        said.append("ok")
    except Exception as e:
        said.append(type(e).__name__)
print(*said)
PYTHON
for idempotent in no yes; do
	"$python" client.py create "$kafka" "t-$idempotent" 1 max.message.bytes=20000
done
expect "5, 30000 and 5 bytes, not idempotent" "ok MessageSizeTooLargeError ok" "$("$python" "$dir/send.py" "$kafka" t-no no 2>/dev/null)"
expect "5, 30000 and 5 bytes" "ok MessageSizeTooLargeError MessageSizeTooLargeError" "$("$python" "$dir/send.py" "$kafka" t-yes yes 2>/dev/null)"
expect "messages in the topic, not idempotent" 2 "$("$python" client.py count "$kafka" t-no)"
expect "messages in the topic" 1 "$("$python" client.py count "$kafka" t-yes)"
