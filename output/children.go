package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// children finds child outputs that would never take a message.
func (p *parser) children() {
	for _, field := range errorrouting.Children {
		if p.has(field) {
			v, _ := p.conf.FieldAny(field)
			p.child(field, v)
		}
	}
}

func (p *parser) child(field string, config any) {
	if errorrouting.Rejects(config) {
		p.fail(field, "is reject, which takes no message: each would be tried again without end. Name an output that keeps them, or leave it out")
	}
	files := errorrouting.Files(config, field)
	for _, f := range files {
		if f.Replaced && field == fieldDeadLetter {
			p.fail(f.Path, "is %s, and with the codec all-bytes each dead letter takes the place of the one before. Use the codec lines, or a path of its own for each, such as ./${! uuid_v4() }", f.Name)
		}
	}
	if p.linting {
		return // the config may be linted on another machine
	}
	for _, f := range files {
		if f.Name == "" {
			continue // it is no file
		}
		if err := checkFile(f.Name); err != nil {
			p.fail(f.Path, "is %s, which can't be written: %v", f.Name, err)
		}
	}
}

// checkFile reports whether a file can be written, which the output file itself tries
// only with its first message. It creates neither the file nor its folders. A name that
// depends on the message passes.
func checkFile(name string) error {
	if strings.Contains(name, "${") {
		return nil
	}
	switch info, err := os.Stat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a directory")
	case info.Mode().IsRegular():
		return writable(name)
	default:
		return nil // opening a pipe would wait for its reader
	}
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		switch info, err := os.Stat(dir); {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is no directory", dir)
		default:
			return writable(dir)
		}
	}
}
