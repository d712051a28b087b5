package deadletters

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	flagConfig    = "config"
	flagResources = "resources"
	flagSet       = "set"
	flagEnvFile   = "env-file"
	flagOutput    = "output"
	flagBrokers   = "brokers"
	flagField     = "field"

	flagClass  = "class"
	flagTopic  = "topic"
	flagSince  = "since"
	flagUntil  = "until"
	flagReason = "reason"
	flagWhere  = "where"
)

// The groups of flags in the help.
const (
	whereLetters = "Where the letters are:"
	whichLetters = "Which letters, all of these:"
)

// Exit codes, besides 0 and 1.
const (
	exitLeft        = 2   // the account balances, but not all letters are delivered
	exitInterrupted = 130 // 128 and the number of the signal
)

// Command returns the subcommand dead-letters.
func Command() *cli.Command {
	summary := summaryCommand()
	return &cli.Command{
		Name:      "dead-letters",
		Usage:     "Count dead letters by cause, show them, and send them again to their topics",
		ArgsUsage: "[TOPIC|FILE|FOLDER...]",
		Description: `
Reads the dead letters of the kafka_guarded output from a topic, a file or a
folder of files. Without an argument it reads the topic or files that the config
of --config writes its dead letters to.

  kafka-guarded dead-letters --config stream.yaml
  kafka-guarded dead-letters --brokers HOST:9092 TOPIC
  kafka-guarded dead-letters show --config stream.yaml --class size_exceeded
  kafka-guarded dead-letters redrive --config stream.yaml --dry-run
  kafka-guarded dead-letters redrive --config stream.yaml

  summary   counts by class, topic and reason, and when they failed: the default
  show      letters with headers and payload
  redrive   sends letters again, with an account of each

Only redrive writes. It removes no letter from its topic or file, but marks the
letters that are done. summary and show have all letters, also those that are
done. redrive --dry-run says which are left.`[1:],
		Flags:       summary.Flags,
		Action:      summary.Action,
		Subcommands: []*cli.Command{summary, showCommand(), redriveCommand()},
	}
}

func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Category: whereLetters, Name: flagConfig, Aliases: []string{"c"}, Usage: "the path of the stream's config: its kafka_guarded output says how to connect, and its dead_letter where the letters are"},
		&cli.StringSliceFlag{Category: whereLetters, Name: flagBrokers, Aliases: []string{"b"}, Usage: "addresses of brokers, without a config or in place of those in it"},
		&cli.StringSliceFlag{Category: whereLetters, Name: flagField, Aliases: []string{"f"}, Usage: "any other field of the kafka_guarded output, such as tls.enabled=true"},
		&cli.StringFlag{Category: whereLetters, Name: flagOutput, Usage: "the label or the path of the output, if the config has several. By default the first one with a dead_letter"},
		&cli.StringSliceFlag{Category: whereLetters, Name: flagResources, Aliases: []string{"r"}, Usage: "the path of a file with resources that the config uses, as for run; may be a pattern"},
		&cli.StringSliceFlag{Category: whereLetters, Name: flagSet, Aliases: []string{"s"}, Usage: "set a field of the config, as for run: path=value"},
		&cli.StringSliceFlag{Category: whereLetters, Name: flagEnvFile, Aliases: []string{"e"}, Usage: "the path of a file with environment variables, as for run; may be a pattern"},

		&cli.StringSliceFlag{Category: whichLetters, Name: flagClass, Usage: "their class, such as size_exceeded; \"" + noClass + "\" is for records that are no dead letters of kafka_guarded"},
		&cli.StringSliceFlag{Category: whichLetters, Name: flagTopic, Usage: "the topic that they were for"},
		&cli.StringFlag{Category: whichLetters, Name: flagReason, Usage: "a part of their reason, as summary has it, or of their error"},
		&cli.StringFlag{Category: whichLetters, Name: flagSince, Usage: "they failed then or later: a time such as 2026-11-30T02:00:00Z, or how long ago, such as 2h"},
		&cli.StringFlag{Category: whichLetters, Name: flagUntil, Usage: "they failed before that"},
		&cli.StringFlag{Category: whichLetters, Name: flagWhere, Usage: "a Bloblang mapping that is true for them, such as 'this.customer == \"c-7\"' or '@kafka_guarded_bytes.number() < 2000000'"},
	}
}

func whereOf(c *cli.Context) where {
	return where{
		config: c.String(flagConfig), resources: c.StringSlice(flagResources), set: c.StringSlice(flagSet),
		envFiles: c.StringSlice(flagEnvFile), label: c.String(flagOutput), brokers: c.StringSlice(flagBrokers), fields: c.StringSlice(flagField),
	}
}

func filterOf(c *cli.Context) (*filter, error) {
	f := &filter{Classes: c.StringSlice(flagClass), Topics: c.StringSlice(flagTopic), Reason: c.String(flagReason), Where: c.String(flagWhere)}
	now := time.Now()
	for name, at := range map[string]**time.Time{flagSince: &f.Since, flagUntil: &f.Until} {
		if value := c.String(name); value != "" {
			t, err := moment(value, now)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", name, err)
			}
			*at = t
		}
	}
	return f, f.compile()
}

// session is a run of the command.
type session struct {
	ctx    context.Context
	out    io.Writer // results
	err    io.Writer // notes and progress
	filter *filter
	found  found
	opened []opened
}

// opened is a source, and the settings of its connection.
type opened struct {
	source
	topic    string // empty for files
	path     string // empty for a topic
	settings settings
}

// memory is the garbage collector's limit, unless GOMEMLIMIT is set. Letters that are
// larger take more.
const memory = 200 << 20

// open reads the command line, and opens the sources.
func open(c *cli.Context) (s *session, closeAll func(), err error) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	s = &session{ctx: ctx, out: c.App.Writer, err: c.App.ErrWriter}
	closeAll = func() {
		for _, o := range s.opened {
			o.close()
		}
		stop()
	}
	fail := func(err error) (*session, func(), error) {
		closeAll()
		return nil, nil, err
	}
	if s.filter, err = filterOf(c); err != nil {
		return fail(err)
	}
	if s.found, err = whereOf(c).find(); err != nil {
		return fail(err)
	}
	var all []lettersAt
	for _, arg := range c.Args().Slice() {
		if strings.HasPrefix(arg, "-") {
			return fail(fmt.Errorf("%s: flags come before the topic or file, see dead-letters --help", arg))
		}
		all = append(all, lettersAt{arg: arg})
	}
	if len(all) == 0 {
		all = s.found.letters
	}
	if len(all) == 0 {
		what := "dead-letters takes a topic, a file or a folder, or a --config whose dead_letter says where they are"
		if c.String(flagConfig) != "" {
			what = "the dead_letter of the config does not say which topic or file its letters are in: name it as an argument"
		}
		return fail(fmt.Errorf("%s, see dead-letters --help", what))
	}
	for _, at := range all {
		if err := s.openAt(at); err != nil {
			return fail(err)
		}
	}
	return s, closeAll, nil
}

func (s *session) openAt(at lettersAt) error {
	name, file, err := isFile(at.arg)
	if err != nil {
		return err
	}
	if file {
		source, err := openFiles(name)
		if err != nil {
			return err
		}
		s.opened = append(s.opened, opened{source: source, path: name})
		return nil
	}
	fields := at.settings
	if fields == nil {
		fields = s.found.target
	}
	opts, err := fields.opts()
	if err != nil {
		return fmt.Errorf("%s is no file here, so it is taken for a topic: %w", name, err)
	}
	source, err := openTopic(s.ctx, name, opts)
	if err != nil {
		return err
	}
	s.opened = append(s.opened, opened{source: source, topic: name, settings: fields})
	return nil
}

func (s *session) name() string {
	var all []string
	for _, o := range s.opened {
		all = append(all, o.String())
	}
	return strings.Join(all, ", ")
}

// each reads all sources.
func (s *session) each(what string, each func(*Letter) error) error {
	total := int64(0)
	for _, o := range s.opened {
		total += o.size()
	}
	p := startProgress(s.err, what, total)
	defer p.stop()
	for _, o := range s.opened {
		err := o.read(s.ctx, nil, func(l *Letter) error {
			p.letters.Add(1)
			return each(l)
		}, p.passed)
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// note prints what a reader of the result must know about it.
func (s *session) note() {
	if s.filter.failed > 0 {
		fmt.Fprintf(s.err, "--where: the mapping fails, or gives no boolean, for %d letters, which are not chosen\n", s.filter.failed)
	}
}

// ended turns an error into the error of the command.
func (s *session) ended(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return cli.Exit("interrupted", exitInterrupted)
	}
	return err
}

func showCommand() *cli.Command {
	const limit, offsets, asJSON, full = "limit", "offsets", "json", "full"
	return &cli.Command{
		Name:      "show",
		Usage:     "Show letters, with headers and payload",
		ArgsUsage: "[TOPIC|FILE|FOLDER...]",
		Description: `
Prints letters as text, which goes well with a pager:

  kafka-guarded dead-letters show --config stream.yaml --limit 0 | less`[1:],
		Flags: append(commonFlags(),
			&cli.Int64Flag{Name: limit, Aliases: []string{"n"}, Value: 20, Usage: "how many letters to show, 0 for all"},
			&cli.BoolFlag{Name: offsets, Usage: "only where the letters are: TOPIC/PARTITION:OFFSET, or FILE:NUMBER"},
			&cli.BoolFlag{Name: asJSON, Usage: "as JSON, a letter a line: a file of these can be read, and sent again"},
			&cli.BoolFlag{Name: full, Usage: "payloads as a whole, and not only their first 2000 bytes"},
		),
		Action: func(c *cli.Context) error {
			s, closeAll, err := open(c)
			if err != nil {
				return err
			}
			defer closeAll()
			w := newShower(s.out)
			w.offsets, w.json, w.full = c.Bool(offsets), c.Bool(asJSON), c.Bool(full)
			most, more := c.Int64(limit), false
			err = s.each("looking for letters", func(l *Letter) error {
				if !s.filter.matches(l) {
					return nil
				}
				if more = most > 0 && w.n >= most; more {
					return errStop
				}
				return w.show(l)
			})
			s.note()
			switch {
			case errors.Is(err, syscall.EPIPE):
				return nil // the pager has ended
			case err != nil:
				return s.ended(err)
			case more:
				fmt.Fprintf(s.err, "there are more (--limit %d): --limit 0 shows all\n", most)
			case w.n == 0:
				fmt.Fprintf(s.err, "%s: no letter is chosen by %s\n", s.name(), s.filter)
			}
			return nil
		},
	}
}

func summaryCommand() *cli.Command {
	const asJSON, html, unredacted = "json", "html", "unredacted"
	return &cli.Command{
		Name:      "summary",
		Usage:     "Count letters by class, topic and reason, over time",
		ArgsUsage: "[TOPIC|FILE|FOLDER...]",
		Flags: append(commonFlags(),
			&cli.BoolFlag{Name: asJSON, Usage: "as JSON, for scripts"},
			&cli.StringFlag{Name: html, Usage: "write a report to the path, one page of HTML that needs no other file"},
			&cli.BoolFlag{Name: unredacted, Usage: "show the content of samples in the report. By default it shows only their form"},
		),
		Action: func(c *cli.Context) error {
			s, closeAll, err := open(c)
			if err != nil {
				return err
			}
			defer closeAll()
			path := c.String(html)
			samples := 0
			if path != "" {
				samples = allSamples
			}
			sum := newSummary(s.name(), s.filter.String(), samples)
			err = s.each("reading", func(l *Letter) error {
				sum.Read++
				if s.filter.matches(l) {
					sum.add(l)
				}
				return nil
			})
			if err != nil {
				return s.ended(err)
			}
			s.note()
			sum.finish()
			if path != "" {
				if err := sum.report(path, c.Bool(unredacted)); err != nil {
					return err
				}
				fmt.Fprintf(s.err, "the report is in %s\n", path)
			}
			if c.Bool(asJSON) {
				return sum.json(s.out)
			}
			if path != "" {
				return nil
			}
			var text bytes.Buffer
			sum.print(&text)
			_, err = s.out.Write(text.Bytes())
			return err
		},
	}
}
