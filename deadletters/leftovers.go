package deadletters

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// leftovers keeps letters that failed again, at the end of their source.
type leftovers interface {
	String() string
	// append returns when all items are kept.
	append(ctx context.Context, items []*item) error
	close()
}

// fileLeftovers appends letters to a file beside the file that they came from.
type fileLeftovers struct{}

func (fileLeftovers) String() string { return "in files whose names end with " + leftover }

func (fileLeftovers) close() {}

func (fileLeftovers) append(_ context.Context, items []*item) error {
	byFile := map[string]*bytes.Buffer{}
	now := time.Now()
	for _, it := range items {
		line, err := pack(it.again(now), it.letter.body)
		if err != nil {
			return err
		}
		path := strings.TrimSuffix(it.letter.at.part, leftover) + leftover
		if byFile[path] == nil {
			byFile[path] = &bytes.Buffer{}
		}
		byFile[path].Write(append(line, '\n'))
	}
	for path, content := range byFile {
		if err := appendTo(path, content.Bytes()); err != nil {
			return fmt.Errorf("keeping what failed again: %w", err)
		}
	}
	return nil
}

func appendTo(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// topicLeftovers writes letters to the end of their topic.
type topicLeftovers struct {
	topic  string
	writer *writer
}

func (t *topicLeftovers) String() string { return "at the end of topic " + t.topic }

func (t *topicLeftovers) close() { t.writer.close() }

func (t *topicLeftovers) append(ctx context.Context, items []*item) error {
	now := time.Now()
	var all []*item
	for _, it := range items {
		l := it.letter
		all = append(all, &item{letter: l, content: l.body, record: recordOf{
			topic: t.topic, key: l.key, null: l.body == nil, partition: -1, timestamp: l.timestamp, headers: it.again(now),
		}})
	}
	if err := t.writer.write(ctx, all); err != nil {
		return fmt.Errorf("keeping what failed again: %w", err)
	}
	for _, it := range all {
		if it.fate.kind != delivered {
			return fmt.Errorf("keeping what failed again: topic %s does not take letter %s: %s", t.topic, it.letter.at, it.fate.err)
		}
	}
	return nil
}
