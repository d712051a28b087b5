# shellcheck shell=bash
peer="Camel 4.22.0"
variants="default one"
install() { jars camel java/pom.xml -Pcamel; }
send() { java -cp "$dir/camel/*" java/Camel.java "$kafka" "$topic" "$messages" "$variant"; }
