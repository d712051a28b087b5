# shellcheck shell=bash
peer="Java client 4.4.0"
variants="default one"
install() { jars client java/pom.xml -Pclient; }
send() { java -cp "$dir/client/*" java/Client.java "$kafka" "$topic" "$messages" "$variant"; }
