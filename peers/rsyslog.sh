# shellcheck shell=bash
peer="rsyslog"
cases=size
reports=log
resubmit=off
install() { debian rsyslog rsyslog-kafka; peer="rsyslog $(of rsyslog-kafka)"; }
send() {
	cut -f2 "$messages" >"$messages.lines"
	mkdir "$dir/$topic"
	cat >"$dir/$topic.conf" <<-CONF
		global(workDirectory="$dir/$topic" maxMessageSize="64k")
		module(load="imfile" mode="polling" pollingInterval="1")
		module(load="omkafka")
		input(type="imfile" file="$messages.lines" tag="peer")
		template(name="raw" type="string" string="%msg%")
		action(type="omkafka" broker="$kafka" topic="$topic" key="k" template="raw" resubmitOnFailure="$resubmit" confParam=["linger.ms=500"])
		action(type="omfile" file="$dir/$topic.log")
	CONF
	later "$messages.lines" &
	timeout 30 rsyslogd -n -i "$dir/$topic.pid" -f "$dir/$topic.conf"
}
