//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// archiveFile is where the loaded classes of a broker are kept, for the Java
// that made it. With it a node starts in half the time.
func (r *javaRuntime) archiveFile() string {
	return r.jars + "-java-" + r.javaVer + ".jsa"
}

// archiveFlags make a JVM use the archive if it is there and usable.
func (r *javaRuntime) archiveFlags() []string {
	return []string{
		"-XX:+IgnoreUnrecognizedVMOptions",
		"-Xshare:auto",
		"-XX:SharedArchiveFile=" + r.archiveFile(),
		"-Xlog:disable", "-Xlog:all=off",
	}
}

// archive makes the archive: it runs one node that writes it when it is
// stopped. A JVM that writes none leaves an empty file, so that it is not
// asked again; JVMs ignore such a file.
func (r *javaRuntime) archive(ctx context.Context) error {
	unlock, err := lockFile(r.jars + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(r.archiveFile()); err == nil {
		return nil
	}
	tmp := r.archiveFile() + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making the class archive: %w", err)
	}
	c, err := startWith(ctx, r, Options{Version: r.version}.withDefaults(), []string{
		"-XX:+IgnoreUnrecognizedVMOptions",
		"-XX:ArchiveClassesAtExit=" + tmp,
	})
	if err != nil {
		return fmt.Errorf("making the class archive: %w", err)
	}
	defer c.close()
	if err := c.nodes[0].stop(); err != nil {
		return fmt.Errorf("making the class archive: %w", err)
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making the class archive: %w", err)
	}
	f.Close()
	if err := os.Rename(tmp, r.archiveFile()); err != nil {
		return fmt.Errorf("making the class archive: %w", err)
	}
	return nil
}
