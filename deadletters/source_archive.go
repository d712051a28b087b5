package deadletters

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// localHeader begins a zip, and each of its entries.
	localHeader     = "PK\x03\x04"
	localHeaderSize = 30
	tarMagic        = "ustar"
	tarMagicAt      = 257
)

func isZip(start []byte) bool { return bytes.HasPrefix(start, []byte(localHeader)) }

func isTar(start []byte) bool {
	return len(start) >= tarMagicAt+len(tarMagic) && string(start[tarMagicAt:tarMagicAt+len(tarMagic)]) == tarMagic
}

// tarLetters calls each with the letters of a tar file. It may be several in a row, as
// an output that appends writes it.
func tarLetters(in *bufio.Reader, each func([]byte) error) error {
	for {
		t := tar.NewReader(in)
		for {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			if h.Typeflag != tar.TypeReg || strings.HasSuffix(h.Name, sidecar) {
				continue
			}
			if err := entryLetters(t, each); err != nil {
				return fmt.Errorf("its entry %s: %w", h.Name, err)
			}
		}
		// A tar file ends with zeros. An output of lines adds an end of line.
		for {
			b, err := in.ReadByte()
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if b != 0 && b != '\n' {
				break
			}
		}
		if err := in.UnreadByte(); err != nil {
			return err
		}
	}
}

// zipLetters calls each with the letters of a zip.
func zipLetters(file io.ReaderAt, size int64, each func([]byte) error) error {
	z, err := zip.NewReader(file, size)
	if err != nil {
		return fmt.Errorf("reading its directory: %w", err)
	}
	// The directory of a zip is at its end. If several are in a row, it is that of the
	// last one, and lacks the first entry.
	var header [localHeaderSize]byte
	if _, err := file.ReadAt(header[:], 0); err != nil {
		return err
	}
	first := int64(localHeaderSize) + int64(binary.LittleEndian.Uint16(header[26:])) + int64(binary.LittleEndian.Uint16(header[28:]))
	listed := false
	for _, f := range z.File {
		at, err := f.DataOffset()
		if err != nil {
			return fmt.Errorf("its entry %s: %w", f.Name, err)
		}
		listed = listed || at == first
	}
	if !listed {
		return errors.New("it is more than one zip, one behind the other, and only the last has a directory: unpack them, and give the folder")
	}
	for _, f := range z.File {
		if !f.Mode().IsRegular() || strings.HasSuffix(f.Name, sidecar) {
			continue
		}
		content, err := f.Open()
		if err == nil {
			err = errors.Join(entryLetters(content, each), content.Close())
		}
		if err != nil {
			return fmt.Errorf("its entry %s: %w", f.Name, err)
		}
	}
	return nil
}

// entryLetters calls each with the letters of an archive's entry: its lines if the
// first one is a letter, else the whole entry. The processor archive makes an entry of
// each message, which may have several lines.
func entryLetters(content io.Reader, each func([]byte) error) error {
	in := bufio.NewReaderSize(content, 1<<16)
	line, err := readLine(in, nil)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	line = bytes.Clone(line)
	if first := trimEnd(line); len(letterOf(place{}, first).meta) > 0 {
		if err := each(first); err != nil {
			return err
		}
		return lines(in, each)
	}
	rest, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return each(append(line, rest...))
}
