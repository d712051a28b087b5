package deadletters

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// redriveOptions are the flags of redrive, besides those that choose letters.
type redriveOptions struct {
	mapping         *bloblang.Executor
	group, markFile string
	dryRun          bool
}

func redriveCommand() *cli.Command {
	const mapping, dryRun, attempts, group, markFile = "mapping", "dry-run", "max-attempts", "group", "mark"
	return &cli.Command{
		Name:      "redrive",
		Usage:     "Send letters again to their topics, and account for each",
		ArgsUsage: "[TOPIC|FILE|FOLDER...]",
		Description: `
Sends the chosen letters to their topics as they were: with key, partition,
timestamp and headers, by a kafka_guarded output. A letter that fails again stays
a letter, with the new reason and the number of attempts.

It may be stopped at any moment and started again. A mark says which letters are
done, however they were chosen, and they are not sent again. The mark of a
topic is in the consumer groups kafka-guarded-redrive.TOPIC.1 and so on; that of
a file is beside it, in FILE` + sidecar + `.

A --mapping repairs letters: it is Bloblang, with the payload as this and the
metadata as @. It sets kafka_guarded_topic, kafka_guarded_key and
kafka_guarded_partition to change where a letter goes, and drops a letter with
root = deleted(). Without root the payload stays as it was. A mapping that
changes a part of it begins with root = this:

  root = this
  root.text = if @kafka_guarded_topic == "payments" { this.text.slice(0, 100) }
  meta kafka_guarded_key = if @kafka_guarded_topic == "accounts" { this.account }

An if without else changes nothing where it is false.

Exits with 0 if all chosen letters are delivered or dropped, with 2 if letters
failed again or are left, and with 1 if the account does not balance.`[1:],
		Flags: append(commonFlags(),
			&cli.StringFlag{Name: mapping, Aliases: []string{"m"}, Usage: "the path of a file with a Bloblang mapping that repairs letters"},
			&cli.BoolFlag{Name: dryRun, Aliases: []string{"n"}, Usage: "write nothing, and say which letters would still fail, and why"},
			&cli.IntFlag{Name: attempts, Value: 3, Usage: "leave out letters that were sent this often without success, 0 for none"},
			&cli.StringFlag{Name: group, Usage: "the beginning of the names of the consumer groups with the mark, in place of kafka-guarded-redrive.TOPIC"},
			&cli.StringFlag{Name: markFile, Usage: "keep the mark in this file"},
		),
		Action: func(c *cli.Context) error {
			s, closeAll, err := open(c)
			if err != nil {
				return err
			}
			defer closeAll()
			s.filter.MaxAttempts = c.Int(attempts)
			o := redriveOptions{group: c.String(group), markFile: c.String(markFile), dryRun: c.Bool(dryRun)}
			if o.mapping, err = mappingOf(c.String(mapping)); err != nil {
				return err
			}
			if o.markFile != "" && len(s.opened) > 1 {
				return fmt.Errorf("--mark: a file has the mark of one source, and these are %d: redrive one at a time", len(s.opened))
			}
			total := account{}
			for _, source := range s.opened {
				a, err := s.redrive(source, o)
				total.add(a)
				if err != nil {
					return s.ended(err)
				}
			}
			if total.FailedAgain+total.Left > 0 {
				return cli.Exit("", exitLeft)
			}
			return nil
		},
	}
}

// mappingOf reads a mapping, nil without a path.
func mappingOf(path string) (*bloblang.Executor, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--mapping: %w", err)
	}
	mapping, err := bloblang.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("--mapping %s: %w", path, err)
	}
	return mapping, nil
}

// redrive sends the letters of a source, or prints what would happen to them.
func (s *session) redrive(source opened, o redriveOptions) (account, error) {
	target := s.found.target
	if len(target) == 0 {
		return account{}, errors.New("where do the letters belong? Name the config of the stream with --config, or brokers with --brokers")
	}
	opts, err := target.opts()
	if err != nil {
		return account{}, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return account{}, err
	}
	defer client.Close()
	filter := *s.filter
	filter.failed = 0
	r := &redrive{
		source: source, filter: &filter, mapping: o.mapping, grace: grace, marks: marksOf(source, o),
		writer: &writer{settings: target, log: s.err}, admin: kadm.NewClient(client), out: s.out, log: s.err,
		again: leftoversOf(source, s),
	}
	defer r.again.close()
	defer r.writer.close()
	if o.dryRun {
		return r.dryRun(s.ctx, target, opts)
	}
	err = r.run(s.ctx)
	if r.failed == nil {
		return r.account, err // the run has not begun
	}
	if e := r.print(s.ctx); e != nil {
		err = errors.Join(e, err)
	}
	return r.account, err
}

func marksOf(source opened, o redriveOptions) marks {
	switch {
	case o.markFile != "":
		return &fileMarks{path: o.markFile}
	case source.topic == "":
		path := filepath.Clean(source.path)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = filepath.Join(path, "letters")
		}
		return &fileMarks{path: path + sidecar}
	}
	topic := source.source.(*topicSource)
	base := o.group
	if base == "" {
		base = "kafka-guarded-redrive." + topic.topic
	}
	return &groupMarks{admin: topic.admin, topic: topic.topic, base: base, parts: topic.starts}
}

func leftoversOf(source opened, s *session) leftovers {
	if source.topic == "" {
		return fileLeftovers{}
	}
	// A letter with its metadata is larger than its record. Only the topic of letters
	// limits its size.
	fields := maps.Clone(source.settings)
	delete(fields, "max_message_bytes")
	return &topicLeftovers{topic: source.topic, writer: &writer{settings: fields, log: s.err}}
}
