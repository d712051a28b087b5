#!/usr/bin/env bash
# Kroxylicious 0.12.0, record encryption: a compressed record that fits by far is too
# large behind the gateway, since what is encrypted does not compress. Without the
# gateway the same topic takes it.
source "$(dirname "$0")/lib.sh"
kafka 4.4.0
# shellcheck disable=SC2016 # $(topicName) is Kroxylicious' own
kroxylicious '{name: filter, type: RecordEncryption, config: {kms: UnitTestingKmsService, kmsConfig: {numIvBytes: 12, numAuthBits: 128, existingKeks: [{uuid: 6d1b2f1c-9a0e-4a55-8f6f-0d6c5f0c1a2b, key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=, algorithm: AES, alias: key-t}]}, selector: TemplateKekSelector, selectorConfig: {template: "key-$(topicName)"}}}'
packages confluent-kafka==2.16.1
"$python" client.py create "$kafka" t 1 max.message.bytes=20000
expect "30000 zeros, gzip" ok "$("$python" client.py produce "$kafka" t gzip 0=zeros:30000)"
expect "30000 zeros, gzip, encrypted" MSG_SIZE_TOO_LARGE "$("$python" client.py produce "$gateway" t gzip 0=zeros:30000)"
