# shellcheck shell=bash
peer="kafkajs 2.2.4"
install() { node_packages kafkajs@2.2.4; }
send() { NODE_PATH=$dir/node_modules KAFKAJS_NO_PARTITIONER_WARNING=1 node clients/kafkajs.cjs "$kafka" "$topic" "$messages"; }
