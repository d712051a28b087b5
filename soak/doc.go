// Package soak writes to three real Kafka nodes at full load for as long as it is
// told to, one message in a hundred of which is poison, while nodes are killed,
// frozen, restarted and cut off, leaders move, and limits and rights change. At
// its end it accounts for every message.
//
//	make soak HOURS=1
//	go test ./soak -hours 0.05 -seed 7 -v -timeout 0
//
// The plugin runs in a process of its own, so that its memory, goroutines,
// connections and file descriptors are its own, too. A consumer reads the topics
// back while they are written, and deletes what it has read, so that neither disk
// nor memory fills: what a message must look like follows from its number, and of
// its fate there is a byte, until its neighbours have theirs.
//
// account.md, samples.csv, resources.svg, faults.log and writer.log are written
// to the directory of -out.
package soak
