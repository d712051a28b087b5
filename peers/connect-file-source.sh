# shellcheck shell=bash
peer="Kafka Connect 4.3.1, tolerance all"
variants="default one"
reports=log
install() {
	jars connect java/pom.xml -Pconnect
	javac -cp "$dir/connect/*" -d "$dir/transform" java/KeyOf.java
}
send() {
	cp "$messages" "$messages.lines"
	cat >"$dir/worker.properties" <<-PROPERTIES
		bootstrap.servers=$kafka
		key.converter=org.apache.kafka.connect.storage.StringConverter
		value.converter=org.apache.kafka.connect.storage.StringConverter
		offset.storage.file.filename=$dir/$topic.offsets
		plugin.discovery=only_scan
		listeners=http://127.0.0.1:$(port)
	PROPERTIES
	cat >"$dir/source.properties" <<-PROPERTIES
		name=peer
		connector.class=org.apache.kafka.connect.file.FileStreamSourceConnector
		tasks.max=1
		file=$messages.lines
		topic=$topic
		errors.tolerance=all
		transforms=key
		transforms.key.type=KeyOf
		producer.override.linger.ms=500
	PROPERTIES
	[ "$variant" = default ] || echo producer.override.batch.size=1000000 >>"$dir/source.properties"
	{
		until grep -q 'Source task finished initialization' "$out.log"; do sleep 1; done
		later "$messages.lines"
	} &
	timeout 55 java -Xmx256m -cp "$dir/transform:$dir/connect/*" org.apache.kafka.connect.cli.ConnectStandalone "$dir/worker.properties" "$dir/source.properties"
}
