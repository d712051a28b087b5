# shellcheck shell=bash
peer="sarama 1.61.1"
install() { (cd go && go build -o "$dir/sarama" ./sarama); }
send() { "$dir/sarama" "$kafka" "$topic" "$messages"; }
