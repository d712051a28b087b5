#!/usr/bin/env bash
# Kafka 4.2.0 and newer: cleanup.policy takes an empty list. Such a topic is neither
# compacted nor deleted from, and takes records without a key.
source "$(dirname "$0")/lib.sh"
kafka "${1:-4.4.0}"
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 cleanup.policy=compact
expect "no key, compacted" INVALID_RECORD "$("$python" client.py produce "$kafka" t none 0=nokey)"
"$python" client.py alter "$kafka" t cleanup.policy=
expect "cleanup.policy, emptied" "" "$("$python" client.py config "$kafka" t cleanup.policy)"
expect "no key, no policy" ok "$("$python" client.py produce "$kafka" t none 0=nokey)"
