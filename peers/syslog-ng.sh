# shellcheck shell=bash
peer="syslog-ng"
cases=size
reports=none
install() { debian syslog-ng-core syslog-ng-mod-rdkafka; peer="syslog-ng $(of syslog-ng-mod-rdkafka)"; }
send() {
	cut -f2 "$messages" >"$messages.lines"
	cat >"$dir/$topic.conf" <<-CONF
		@version: 3.38
		options { log-msg-size(65536); };
		source s { file("$messages.lines" flags(no-parse) follow-freq(1)); };
		source own { internal(); };
		destination d { kafka-c(bootstrap-servers("$kafka") topic("$topic") key("k") message("\${MSG}") config(linger.ms(500))); };
		destination own_log { file("$dir/$topic.log"); };
		log { source(s); destination(d); };
		log { source(own); destination(own_log); };
	CONF
	later "$messages.lines" &
	timeout 30 syslog-ng -F --no-caps -f "$dir/$topic.conf" --persist-file "$dir/$topic.persist" --control "$dir/$topic.ctl" --pidfile "$dir/$topic.pid"
	cat "$dir/$topic.log" >&2
}
