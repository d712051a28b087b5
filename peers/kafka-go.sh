# shellcheck shell=bash
peer="kafka-go 0.4.51"
install() { (cd go && go build -o "$dir/kafka-go" ./kafka-go); }
send() { "$dir/kafka-go" "$kafka" "$topic" "$messages"; }
