# shellcheck shell=bash
peer="Flink 2.2.0"
variants="default one"
reports=log
install() {
	jars flink java/pom.xml -Pflink
	javac -cp "$dir/flink/*" -d "$dir/flink-peer" java/Flink.java
}
send() { java -Xmx512m --add-opens java.base/java.util=ALL-UNNAMED -cp "$dir/flink-peer:$dir/flink/*" Flink "$kafka" "$topic" "$messages" "$variant"; }
