# shellcheck shell=bash
peer="librdkafka 2.16.0" # of confluent-kafka 2.16.1
install() { :; } # it counts for us, too
send() { "$python" clients/confluent.py "$kafka" "$topic" "$messages"; }
