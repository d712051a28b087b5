# shellcheck shell=bash
peer="kafka of Connect 4.110.0"
cases=size # a key is a text there, if only an empty one
reports=log
install() { (cd "$root/connect" && go build -o "$dir/connect-bundle" .); }
send() {
	benthos "
  kafka:
    addresses: [ $kafka ]
    topic: $topic
    key: \${! @key }
    batching: { count: 100, period: 1s }"
	"$dir/connect-bundle" run "$dir/$topic.yaml" >&2
}
