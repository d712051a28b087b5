# shellcheck shell=bash
peer="spring-kafka 4.1.2"
variants="default one"
install() { jars spring java/pom.xml -Pspring; }
send() { java -cp "$dir/spring/*" java/Spring.java "$kafka" "$topic" "$messages" "$variant"; }
