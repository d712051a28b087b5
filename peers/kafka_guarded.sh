# shellcheck shell=bash
peer="kafka_guarded"
install() { (cd "$root" && go build -o "$dir/kafka-guarded" .); }
send() {
	benthos "
  kafka_guarded:
    seed_brokers: [ $kafka ]
    topic: $topic
    key: \${! @key }
    null_key: '@key == \"\"'
    batching: { count: 100, period: 1s }
    dead_letter: { drop: {} }
    delivery_report:
      file: { path: $dir/$topic.reported }
      processors:
        - mapping: 'root = content().slice(0, 5).string().trim(\".\") + \"\t\" + @kafka_guarded_error.or(\"ok\")'"
	"$dir/kafka-guarded" run "$dir/$topic.yaml" >&2
	cat "$dir/$topic.reported"
}
