#!/usr/bin/env bash
# Kafka 4.4.0: max.decompressed.message.bytes rejects a record in a compressed batch
# alone. The same record is taken uncompressed. The code is that of bad content,
# INVALID_RECORD, and not of a size.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 max.decompressed.message.bytes=2000
expect "3000 bytes, gzip" INVALID_RECORD "$("$python" client.py produce "$kafka" t gzip 0=zeros:3000)"
expect "3000 bytes, uncompressed" ok "$("$python" client.py produce "$kafka" t none 0=zeros:3000)"
