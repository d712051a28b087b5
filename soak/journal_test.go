//go:build linux || darwin

package soak

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// journal has samples and faults of a soak.
type journal struct {
	dir, data string
	soak      *soak
	began     time.Time
	stop      chan struct{}
	stopOnce  sync.Once
	stopped   sync.WaitGroup

	mu      sync.Mutex
	samples []sample
	faults  []happened
	log     *os.File
}

// sample is what the writer uses at a time, and its progress.
type sample struct {
	at                           time.Duration
	rss                          int64 // bytes
	goroutines, connections, fds int64
	answered, found              uint64
	disk                         int64 // bytes, of Kafka's data
}

// happened is a fault, from its beginning until all streams have made progress again.
type happened struct {
	name     string
	from, to time.Duration
}

func newJournal(dir, data string, s *soak) (*journal, error) {
	log, err := os.Create(filepath.Join(dir, "faults.log"))
	if err != nil {
		return nil, err
	}
	j := &journal{dir: dir, data: data, soak: s, began: time.Now(), stop: make(chan struct{}), log: log}
	j.stopped.Go(j.watch)
	return j, nil
}

func (j *journal) close() {
	j.stopOnce.Do(func() {
		close(j.stop)
		j.stopped.Wait()
	})
}

// begin enters a fault, and returns the function that enters its end.
func (j *journal) begin(name string) (over func()) {
	from := time.Since(j.began)
	fmt.Fprintf(j.log, "%8.1f s  %s\n", from.Seconds(), name)
	return func() {
		to := time.Since(j.began)
		fmt.Fprintf(j.log, "%8.1f s  over: %s\n", to.Seconds(), name)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.faults = append(j.faults, happened{name, from, to})
	}
}

// watch takes samples. It pauses the sources while more than backlog messages are
// acknowledged and not yet read back.
func (j *journal) watch() {
	every := max(time.Second, time.Duration(*hours*float64(time.Hour))/1800)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := time.Now()
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
		}
		var s sample
		for _, a := range j.soak.accounts {
			answered, found := a.progress()
			s.answered += answered
			s.found += found
		}
		switch unread := int64(s.answered) - int64(s.found); {
		case unread > backlog:
			j.soak.process.pause("backlog")
		case unread < backlog/2:
			j.soak.process.goOn("backlog")
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(every)
		s.at = time.Since(j.began)
		s.goroutines = j.soak.process.goroutines.Load()
		s.rss, s.fds, s.connections = inUse(j.soak.process.cmd.Process.Pid)
		s.disk = size(j.data)
		if s.rss > 0 && s.goroutines > 0 {
			j.mu.Lock()
			j.samples = append(j.samples, s)
			j.mu.Unlock()
		}
	}
}

// inUse returns what a process uses. Without /proc it returns zeros.
func inUse(pid int) (rss, fds, connections int64) {
	dir := "/proc/" + strconv.Itoa(pid)
	status, _ := os.ReadFile(dir + "/status")
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			rss = kilobytes << 10
		}
	}
	open, _ := os.ReadDir(dir + "/fd")
	for _, fd := range open {
		fds++
		if to, _ := os.Readlink(filepath.Join(dir, "fd", fd.Name())); strings.HasPrefix(to, "socket:") {
			connections++
		}
	}
	return rss, fds, connections
}

// size returns the size of a directory's files in bytes.
func size(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}
