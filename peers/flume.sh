# shellcheck shell=bash
peer="Flume 1.11.0"
variants="default one"
reports=log
install() { jars flume java/pom.xml -Pflume; }
# An event has no key where the line begins with the tab.
send() {
	mkdir "$dir/$topic"
	cp "$messages" "$dir/$topic/first"
	cat >"$dir/$topic.properties" <<-PROPERTIES
		a.sources=s
		a.channels=c
		a.sinks=k
		a.sources.s.type=spooldir
		a.sources.s.spoolDir=$dir/$topic
		a.sources.s.deserializer.maxLineLength=100000
		a.sources.s.channels=c
		a.sources.s.interceptors=i
		a.sources.s.interceptors.i.type=regex_extractor
		a.sources.s.interceptors.i.regex=^([^\\\\t]+)\\\\t
		a.sources.s.interceptors.i.serializers=key
		a.sources.s.interceptors.i.serializers.key.name=key
		a.channels.c.type=memory
		a.channels.c.capacity=1000
		a.channels.c.transactionCapacity=1000
		a.sinks.k.type=org.apache.flume.sink.kafka.KafkaSink
		a.sinks.k.channel=c
		a.sinks.k.kafka.bootstrap.servers=$kafka
		a.sinks.k.kafka.topic=$topic
	PROPERTIES
	[ "$variant" = default ] || echo a.sinks.k.kafka.producer.batch.size=1000000 >>"$dir/$topic.properties"
	(sleep 15 && printf 'next\tnext.\n' >"$dir/$topic/second") &
	timeout 55 java -Xmx256m -cp "$dir/flume/*" org.apache.flume.node.Application -n a -f "$dir/$topic.properties"
}
