# shellcheck shell=bash
peer="kafka-python 3.0.12"
variants="default one"
install() { "$python" -m pip install -q --disable-pip-version-check kafka-python==3.0.12; }
send() { "$python" clients/kafka_python.py "$kafka" "$topic" "$messages" "$variant"; }
