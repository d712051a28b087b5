package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files that the recipes write dead letters to.
const (
	tooLargeFile = "too-large.jsonl"
	rejectedFile = "rejected.jsonl"
)

// deadLetter is a line of a dead-letter file.
type deadLetter struct {
	Error   string `json:"error"`
	Message string `json:"message"`
	file    string
}

// files are files of dead letters.
type files []*file

type file struct {
	path  string
	read  int64
	lines int
}

func deadLetterFiles(dir string) files {
	return files{{path: filepath.Join(dir, tooLargeFile)}, {path: filepath.Join(dir, rejectedFile)}}
}

// count returns the number of lines so far.
func (all files) count() int {
	n := 0
	for _, f := range all {
		n += f.count()
	}
	return n
}

// count goes on where it stopped. A line that it can't read is an error of each, later.
func (f *file) count() int {
	r, err := os.Open(f.path)
	if err != nil {
		return f.lines
	}
	defer r.Close()
	if _, err := r.Seek(f.read, io.SeekStart); err != nil {
		return f.lines
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		f.read += int64(n)
		f.lines += bytes.Count(buf[:n], []byte{'\n'})
		if err != nil {
			return f.lines
		}
	}
}

// each reads all dead letters. A file without letters does not exist.
func (all files) each(fn func(deadLetter) error) error {
	for _, f := range all {
		r, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading dead letters: %w", err)
		}
		err = eachIn(r, filepath.Base(f.path), fn)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func eachIn(r io.Reader, name string, fn func(deadLetter) error) error {
	for d := json.NewDecoder(r); ; {
		l := deadLetter{file: name}
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading dead letters in %s: %w", name, err)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
}
