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

// source is a source of letters. Its end is fixed when it is opened.
type source interface {
	// String is its name, as in the command line.
	String() string
	// size is the amount to read, in a unit of its own.
	size() int64
	// read calls each for the letters, in the order of each part. from has the place to
	// begin at for each part: the first one is 1 in a file, and 0 in a topic. read
	// calls passed with the part of size that it has read.
	read(ctx context.Context, from map[string]int64, each func(*Letter) error, passed func(int64)) error
	// start returns the first place of a part that still exists.
	start(part string) int64
	// firsts tells files apart that had the same name one after the other, by part. A
	// part of which nothing is known is left out.
	firsts() (map[string]string, error)
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
