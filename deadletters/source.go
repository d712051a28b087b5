package deadletters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is where letters are read from. It ends where it ended when it was
// opened: what comes later is for another time.
type source interface {
	// String is its name, as in the command line.
	String() string
	// size is how much there is to read, in a unit of its own.
	size() int64
	// read calls each for the letters, in the order of each part, from the
	// places on that are given by part: 1 and 0 are the first ones of a file
	// and of a topic. It calls passed with how much of the size it has read.
	read(ctx context.Context, from map[string]int64, each func(*Letter) error, passed func(int64)) error
	// start returns the first place of a part that there is. What is marked
	// as to be done before it was deleted meanwhile.
	start(part string) int64
	close()
}

// errStop ends a reading without an error.
var errStop = errors.New("enough")

const (
	prefixTopic = "topic:"
	prefixFile  = "file:"
)

// isFile reports whether an argument names a file or folder, and not a topic.
func isFile(arg string) (path string, is bool, err error) {
	if topic, ok := strings.CutPrefix(arg, prefixTopic); ok {
		return topic, false, nil
	}
	path, explicit := strings.CutPrefix(arg, prefixFile)
	if _, err := os.Stat(path); err == nil {
		return path, true, nil
	} else if explicit || strings.ContainsAny(path, `/\`) || slices.Contains([]string{".jsonl", ".gz", ".tgz", ".tar", ".zip"}, filepath.Ext(path)) {
		return "", false, fmt.Errorf("opening the dead letters: %w", err)
	}
	return path, false, nil
}
