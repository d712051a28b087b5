//go:build linux || darwin

package kafkatest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

//go:embed pom.xml
var pom []byte

const (
	minJava    = 17
	howToGetIt = "on Debian: apt-get install openjdk-17-jre-headless maven"

	// resolveTimeout is how long the first run on a machine may take to
	// fetch the jars (about 45 MB).
	resolveTimeout = 8 * time.Minute
)

// runtimeMissing says what is missing on this machine for running Kafka. It
// makes a test skip, any other error makes it fail.
type runtimeMissing struct{ what string }

func (e *runtimeMissing) Error() string { return e.what + "; " + howToGetIt }

// Require skips the test if this machine can't run Kafka: no Java 17 or newer,
// or jars not yet in the cache and no Maven to get them. With CI=true in the
// environment the test fails instead. Start and Shared call it themselves.
func Require(tb testing.TB) {
	tb.Helper()
	if len(externalBrokers()) > 0 {
		return
	}
	requireVersion(tb, DefaultVersion)
}

func requireVersion(tb testing.TB, version string) {
	tb.Helper()
	_, err := findRuntime(version)
	if missing := (*runtimeMissing)(nil); errors.As(err, &missing) {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("kafkatest: %v", missing)
		}
		tb.Skipf("kafkatest: %v", missing)
	}
	if err != nil {
		tb.Fatalf("kafkatest: %v", err)
	}
}

// javaRuntime is what it takes to run one version of Kafka.
type javaRuntime struct {
	version string // of Kafka
	java    string // the command
	javaVer string // as it prints it
	mvn     string // the command, may be empty if the jars are there
	jars    string // the directory, which may not exist yet
}

var javaVersionRE = regexp.MustCompile(`version "((?:1\.)?([0-9]+)[^"]*)"`)

// findRuntime looks for Java, Maven and the jars. It fetches nothing.
func findRuntime(version string) (*javaRuntime, error) {
	r := &javaRuntime{version: version}
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	var err error
	if r.java, err = exec.LookPath(java); err != nil {
		return nil, &runtimeMissing{"running Kafka needs Java 17 or newer, and there is no " + java}
	}
	out, err := exec.Command(r.java, "-version").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its version: %w\n%s", r.java, err, out)
	}
	m := javaVersionRE.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("finding the version of %s in %q", r.java, out)
	}
	r.javaVer = string(m[1])
	if major, err := strconv.Atoi(string(m[2])); err != nil || major < minJava {
		return nil, &runtimeMissing{"running Kafka needs Java 17 or newer, and " + r.java + " is " + r.javaVer}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache directory: %w", err)
	}
	// The jars of another pom.xml are other jars, and another run may be
	// using them now.
	sum := sha256.Sum256(pom)
	r.jars = filepath.Join(cache, "kafka-guarded", fmt.Sprintf("kafka-%s-%x", version, sum[:4]))
	if _, err := os.Stat(r.jars); err == nil {
		return r, nil
	}
	if r.mvn, err = exec.LookPath("mvn"); err != nil {
		return nil, &runtimeMissing{"getting the jars of Kafka " + version + " needs Maven, and there is no mvn"}
	}
	return r, nil
}

// resolve makes sure that the jars are there.
func (r *javaRuntime) resolve(ctx context.Context) error {
	if err := copyJars(ctx, r.mvn, pom, r.jars, "-Dkafka.version="+r.version); err != nil {
		return fmt.Errorf("getting the jars of Kafka %s: %w", r.version, err)
	}
	return nil
}

// copyJars copies the jars that a pom.xml names to a directory, if it is not there.
// Test binaries that run at the same time wait for one of them to fetch the jars.
func copyJars(ctx context.Context, mvn string, pom []byte, dir string, args ...string) error {
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "resolving-")
	if err != nil {
		return fmt.Errorf("making a directory for the jars: %w", err)
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return fmt.Errorf("writing pom.xml: %w", err)
	}
	fmt.Fprintf(os.Stderr, "kafkatest: getting jars with Maven, to %s; this happens once and may take minutes\n", dir)
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	got := filepath.Join(tmp, "jars")
	cmd := exec.CommandContext(ctx, mvn, append([]string{
		"-q", "-B", "-ntp", "-f", file,
		"dependency:copy-dependencies",
		"-DincludeScope=runtime",
		"-DoutputDirectory=" + got,
	}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s: %w\n%s", mvn, err, out)
	}
	if err := os.Rename(got, dir); err != nil {
		return fmt.Errorf("moving the jars into the cache: %w", err)
	}
	return nil
}

// lockFile takes the lock that a file stands for, waiting for its holder.
// The lock ends with the process that holds it, so none is ever left behind.
func lockFile(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the cache directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// command is a JVM that runs one of Kafka's main classes. The compiler flags
// and the serial collector make a short-lived node start in half the time; the
// class archive is used if it is there.
func (r *javaRuntime) command(flags []string, main string, args ...string) *exec.Cmd {
	all := []string{
		"-Xms64m", "-Xmx512m",
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		// It logs every round of settle.
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.controller.ClientQuotaControlManager=warn",
	}
	all = append(all, flags...)
	all = append(all, "-cp", filepath.Join(r.jars, "*"), main)
	return exec.Command(r.java, append(all, args...)...)
}
