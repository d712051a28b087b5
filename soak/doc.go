// Package soak writes to three real Kafka nodes at full load for hours. One message in
// a hundred is bad. Meanwhile nodes are killed, frozen, restarted and cut off, leaders
// move, and limits and rights change. At the end the outcome of every message is
// checked.
//
//	make soak HOURS=1
//	go test ./soak -hours 0.05 -seed 7 -v -timeout 0
//
// The plugin runs in a process of its own, so that its memory, goroutines, connections
// and file descriptors can be measured. A consumer reads the topics while they are
// written, and deletes what it has read, so that the disk does not fill. The right
// content of a message follows from its number. In memory there is a byte for each
// message whose outcome is not known yet.
//
// account.md, samples.csv, resources.svg, faults.log and writer.log are written
// to the directory of -out.
package soak
