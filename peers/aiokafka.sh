# shellcheck shell=bash
peer="aiokafka 0.14.0"
variants="default one"
install() { "$python" -m pip install -q --disable-pip-version-check aiokafka==0.14.0; }
send() { "$python" clients/aio.py "$kafka" "$topic" "$messages" "$variant" no; }
