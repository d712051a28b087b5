# shellcheck shell=bash
peer="franz-go 1.22.3"
install() { (cd go && go build -o "$dir/franz-go" ./franz-go); }
send() { "$dir/franz-go" "$kafka" "$topic" "$messages"; }
