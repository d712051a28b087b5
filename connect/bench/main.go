//go:build linux || darwin

// Command bench measures kafka_guarded beside its peers, and writes a report.
// Each run is a process of its own:
//
//	cd connect && go run ./bench -run base -rounds 3
//	cd connect && go run ./bench -write ../docs/performance.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the program. It starts itself for the parts that are processes.
func run(ctx context.Context, args []string) error {
	if len(args) == 1 {
		switch args[0] {
		case "child":
			return child(ctx, os.Stdin, os.Stdout)
		case blackhole, fakeKafka, fakeRedpanda, fakeGateway:
			return serveFake(args[0], os.Stdin, os.Stdout)
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return o.bench(ctx)
}

// options are the flags.
type options struct {
	rounds  int
	seconds float64
	short   bool
	targets []string
	only    *regexp.Regexp
	runners *regexp.Regexp
	env     list
	data    string
	write   string
	json    string
	merge   list          // files of earlier runs
	limit   time.Duration // for the whole bench, 0 for none
	command string        // the command line of the bench
}

// list is a flag that can be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// plain matches arguments that need no quotes in a shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_,.=/-]+$`)

func parse(args []string) (options, error) {
	o := options{command: "go run ./bench"}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 10, "how often to measure `all`")
	flags.Float64Var(&o.seconds, "seconds", 0.7, "about how long a run takes, if its scenario does not take longer")
	flags.BoolVar(&o.short, "short", false, "a few short runs that show that all of it works")
	targets := flags.String("targets", "", "only these targets, separated by commas")
	scenario := flags.String("run", "", "only the scenarios that the `regexp` matches")
	runner := flags.String("runners", "", "only the rows of the tables that the `regexp` matches")
	flags.Var(&o.env, "env", "an environment variable for what is measured, as `KEY=VALUE`")
	flags.StringVar(&o.data, "data", "", "the `directory` for the data of Kafka, such as /dev/shm: disks have moods")
	flags.StringVar(&o.write, "write", "", "put a summary into this Markdown `file`, the plot and every run (CSV and JSON) beside it")
	flags.StringVar(&o.json, "json", "", "put every run into this `file`, also if the bench is cut")
	flags.Var(&o.merge, "merge", "have the report be of the runs in this `file` of -json as well; of a table that the older one measured with other code, the newer counts")
	flags.DurationVar(&o.limit, "for", 0, "cut the bench after such a `time`, and report what there is")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("there are no arguments but flags: %q", flags.Args())
	}
	if o.rounds < 1 && len(o.merge) == 0 || o.rounds < 0 || o.seconds <= 0 {
		return o, errors.New("-rounds and -seconds must be more than 0, unless -merge has runs to report")
	}
	if o.short {
		o.rounds, o.seconds = 1, 0.2
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name != "write" && f.Name != "json" && f.Name != "merge" {
			value := f.Value.String()
			if !plain.MatchString(value) {
				value = "'" + value + "'"
			}
			o.command += " -" + f.Name + "=" + value
		}
	})
	if *targets != "" {
		o.targets = strings.Split(*targets, ",")
	}
	for _, name := range o.targets {
		if _, err := placeOf(name); err != nil {
			return o, err
		}
	}
	var err, err2 error
	o.only, err = regexp.Compile(*scenario)
	o.runners, err2 = regexp.Compile(*runner)
	return o, errors.Join(err, err2)
}

// bench measures and reports. If a run failed, nothing is written. If the bench was
// cut, the finished part is written.
func (o options) bench(ctx context.Context) error {
	if o.data != "" {
		if err := os.Setenv("TMPDIR", o.data); err != nil {
			return fmt.Errorf("setting the directory for data: %w", err)
		}
	}
	if o.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.limit)
		defer cancel()
	}
	var all results
	for _, file := range o.merge {
		r, err := readResults(file)
		if err != nil {
			return err
		}
		all = all.and(r)
	}
	var failed error
	if o.rounds > 0 {
		r := results{Runs: []runInfo{{
			Command: o.command, Code: code(), Machine: machine(), Versions: versions(),
			Date: time.Now().UTC().Format(time.DateOnly), Rounds: o.rounds, Seconds: o.seconds,
		}}}
		r.Samples, failed = o.measure(ctx)
		r.Runs[0].Cut = ctx.Err() != nil
		if o.json != "" {
			failed = errors.Join(failed, r.write(o.json))
		}
		all = all.and(r)
	}
	fmt.Print(all.report())
	if o.write != "" && failed == nil {
		return write(o.write, o.summary(all), plot(all.Samples), rawTable(all.Samples))
	}
	return failed
}
