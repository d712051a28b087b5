#!/usr/bin/env bash
# Kafka 4.2.0 and 4.4.0: a topic that was deleted and created again has the settings
# of the deleted one again after an ordinary restart of the broker.
source "$(dirname "$0")/lib.sh"
kafka "${1:-4.4.0}"
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 max.message.bytes=600
"$python" client.py delete "$kafka" t
"$python" client.py create "$kafka" t 1
expect "max.message.bytes, created again" 1048588 "$("$python" client.py config "$kafka" t max.message.bytes)"
expect "1000 bytes" ok "$("$python" client.py produce "$kafka" t none 0=zeros:1000)"
stop_kafka
start_kafka
expect "1000 bytes, after a restart" MSG_SIZE_TOO_LARGE "$("$python" client.py produce "$kafka" t none 0=zeros:1000)"
printf 'max.message.bytes, after a restart: %s\n' "$("$python" client.py config "$kafka" t max.message.bytes)"
