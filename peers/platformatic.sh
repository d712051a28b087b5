# shellcheck shell=bash
peer="@platformatic/kafka 1.35.0"
install() { node_packages @platformatic/kafka@1.35.0; }
send() { NODE_PATH=$dir/node_modules node clients/platformatic.cjs "$kafka" "$topic" "$messages"; }
