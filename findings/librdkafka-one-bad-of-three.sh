#!/usr/bin/env bash
# librdkafka 2.16.0: of a batch with two bad records it tells them from the good ones,
# by _INVALID_DIFFERENT_RECORD. With one bad record all get the same error, though the
# broker lists the one. So the error of a record may be another record's.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 cleanup.policy=compact
expect "good, bad, good, bad" "_INVALID_DIFFERENT_RECORD INVALID_RECORD _INVALID_DIFFERENT_RECORD INVALID_RECORD" "$("$python" client.py produce "$kafka" t none 0=a 0=nokey 0=b 0=nokey)"
expect "good, bad, good" "INVALID_RECORD INVALID_RECORD INVALID_RECORD" "$("$python" client.py produce "$kafka" t none 0=a 0=nokey 0=b)"
expect "records in the topic" 0 "$("$python" client.py count "$kafka" t)"
