# shellcheck shell=bash
peer=kcat
reports=log
install() { debian kcat; peer="kcat $(of kcat)"; }
# A line without the tab has no key.
send() {
	{
		sed 's/^\t//' "$messages"
		sleep 3
		printf 'next\tnext.\n'
	} | kcat -P -b "$kafka" -t "$topic" -K '\t' -X linger.ms=500
	echo "exit code $?"
}
