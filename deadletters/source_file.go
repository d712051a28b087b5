package deadletters

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sidecar is the suffix of the file that keeps a file's mark.
const sidecar = ".redrive.json"

// leftover is the suffix of the file with letters that failed again. It is read with
// the original file.
const leftover = ".failed-again"

// bom is the byte order mark in UTF-8.
const bom = "\uFEFF"

// fileSource is a file with letters, or all files of a folder. Each is read up to its
// end at the time of opening. The letters of a file are numbered from 1.
type fileSource struct {
	path  string
	files []openFile
}

type openFile struct {
	path string
	size int64
}

func openFiles(path string) (*fileSource, error) {
	s := &fileSource{path: path}
	root := path
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening the dead letters: %w", err)
	case info.IsDir():
		root += string(filepath.Separator) // or WalkDir does not follow a link
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("opening the dead letters: %s is neither a file nor a folder. Write what is in a pipe to a file first", path)
	}
	add := func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if hidden := strings.HasPrefix(d.Name(), ".") && p != root; hidden || strings.HasSuffix(p, sidecar) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(p) // follows a link
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			s.files = append(s.files, openFile{p, info.Size()})
		}
		return nil
	}
	err = filepath.WalkDir(root, add)
	if !info.IsDir() {
		if _, e := os.Stat(path + leftover); e == nil {
			err = errors.Join(err, filepath.WalkDir(path+leftover, add))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the dead letters: %w", err)
	}
	slices.SortFunc(s.files, func(a, b openFile) int { return strings.Compare(a.path, b.path) })
	return s, nil
}

func (s *fileSource) String() string { return s.path }

func (s *fileSource) close() {}

func (s *fileSource) start(string) int64 { return 1 }

// firsts has a hash of the first line of each file.
func (s *fileSource) firsts() (map[string]string, error) {
	all := map[string]string{}
	for _, f := range s.files {
		first, err := f.first()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.path, err)
		}
		if first != "" {
			all[f.path] = first
		}
	}
	return all, nil
}

// firstBytes is how much of a long first line counts.
const firstBytes = 4096

// first returns a hash of the first line, empty while more of it may be written.
func (f openFile) first() (string, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	start := make([]byte, min(f.size, firstBytes))
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	line, _, whole := bytes.Cut(start[:n], []byte("\n"))
	if !whole && n < firstBytes {
		return "", nil
	}
	return fmt.Sprintf("%x", sha256.Sum256(line)), nil
}

func (s *fileSource) size() (n int64) {
	for _, f := range s.files {
		n += f.size
	}
	return n
}

func (s *fileSource) read(ctx context.Context, from map[string]int64, each func(*Letter) error, passed func(int64)) error {
	for _, f := range s.files {
		if err := f.read(ctx, from[f.path], each, passed); err != nil {
			if errors.Is(err, errStop) || ctx.Err() != nil {
				return err
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: it is still being written, or this copy of it is not whole", err)
			}
			return fmt.Errorf("reading %s: %w", f.path, err)
		}
	}
	return nil
}

// counted counts the bytes that were read of a file.
type counted struct {
	io.Reader
	passed func(int64)
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.passed(int64(n))
	return n, err
}

func (f openFile) read(ctx context.Context, from int64, each func(*Letter) error, passed func(int64)) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	raw := bufio.NewReaderSize(counted{io.LimitReader(file, f.size), passed}, 1<<16)
	in := raw
	zipped := false
	if magic, _ := raw.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(raw)
		if err != nil {
			return err
		}
		in, zipped = bufio.NewReaderSize(unzipped, 1<<16), true
	}
	n := int64(0)
	next := func(line []byte) error {
		if n++; n < from {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l := letterOf(place{f.path, n}, line)
		return each(&l)
	}
	// Editors put a mark of UTF-8 in front.
	if start, _ := in.Peek(len(bom) + 1); bytes.Equal(start, []byte(bom+"{")) || bytes.Equal(start, []byte(bom+"[")) {
		_, _ = in.Discard(len(bom)) // they are there
	}
	start, err := in.Peek(tarMagicAt + len(tarMagic))
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case isTar(start):
		return tarLetters(in, next)
	case isZip(start) && zipped:
		return errors.New("it is a zip in gzip, which can't be read without unpacking it: gunzip it first")
	case isZip(start):
		return zipLetters(file, f.size, next)
	case isArray(start):
		return elements(in, next)
	}
	return lines(in, next)
}

// isArray reports whether a file with this start is a JSON array of letters, as the
// processor archive writes it.
func isArray(start []byte) bool {
	rest, bracket := bytes.CutPrefix(start, []byte("["))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return bracket && len(rest) > 0 && (rest[0] == '{' || rest[0] == '"')
}

// readLine returns the next line with its end. It is overwritten by the next read. A
// line longer than the buffer is in long.
func readLine(in *bufio.Reader, long []byte) ([]byte, error) {
	long = long[:0]
	for {
		chunk, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, chunk...)
			continue
		}
		if len(long) > 0 {
			chunk = append(long, chunk...)
		}
		return chunk, err
	}
}

func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// lines calls each with the lines, of any length. A last line without an end counts.
func lines(in *bufio.Reader, each func([]byte) error) error {
	var long []byte
	for {
		line, err := readLine(in, long)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if cap(line) > in.Size() {
			long = line
		}
		line = trimEnd(line)
		torn := err != nil && len(line) > 0 && line[0] == '{' && !json.Valid(line) // it is still being written
		if len(line) > 0 && !torn {
			if err := each(line); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// elements calls each with the elements of JSON arrays. There may be an array on each
// line.
func elements(in io.Reader, each func([]byte) error) error {
	d := json.NewDecoder(in)
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for d.More() {
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				return err
			}
			line := []byte(raw)
			var text string
			if json.Unmarshal(raw, &text) == nil {
				line = []byte(text)
			}
			if err := each(line); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return err
		}
	}
}
