# shellcheck shell=bash
# shellcheck source=/dev/null
source ./rsyslog.sh
resubmit=on
install() { debian rsyslog rsyslog-kafka; peer="rsyslog $(of rsyslog-kafka), resubmitOnFailure"; }
