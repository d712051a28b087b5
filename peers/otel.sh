# shellcheck shell=bash
peer="OpenTelemetry exporter 0.165.1"
cases=size # its messages have no key
reports=log
install() { (cd otel && go build -o "$dir/otel" .); }
send() { "$dir/otel" "$kafka" "$topic" "$messages"; }
