#!/usr/bin/env bash
# Kafka 4.4.0: internal.segment.bytes of a topic decides how large a batch may be.
# What the broker reports as segment.bytes stays 1 GiB.
source "$(dirname "$0")/lib.sh"
kafka "${1:-4.4.0}"
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 internal.segment.bytes=4000
expect "segment.bytes" 1073741824 "$("$python" client.py config "$kafka" t segment.bytes)"
expect "max.message.bytes" 1048588 "$("$python" client.py config "$kafka" t max.message.bytes)"
expect "5000 bytes" RECORD_LIST_TOO_LARGE "$("$python" client.py produce "$kafka" t none 0=zeros:5000)"
expect "3000 bytes" ok "$("$python" client.py produce "$kafka" t none 0=zeros:3000)"
