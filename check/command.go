package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/urfave/cli/v2"
)

const (
	flagSet       = "set"
	flagResources = "resources"
	flagEnvFile   = "env-file"
	flagTemplates = "templates"
	flagTopic     = "topic"
	flagQuick     = "quick"
)

// Command returns the subcommand check.
func Command() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "Check the kafka_guarded outputs of configs against their cluster, without writing to it",
		ArgsUsage: "CONFIG...",
		Description: `
For each kafka_guarded output in the configs, wherever it is: which brokers
answer, are the credentials accepted, does the topic exist, are there the rights
to write to it and to read what it accepts, do the sizes go together, and what
becomes of messages that fail? Prints a line for each, with what to do, that
begins with

  ok     as it should be
  ?      the cluster does not tell
  warn   it works, but perhaps not as it is meant
  fail   messages would fail, or wait without end

and fails if there is one of the last kind. Writes nothing, and creates no
topic. It takes what run takes, so that the same flags give the same config.`[1:],
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: flagSet, Aliases: []string{"s"}, Usage: "set a field of the configs, as for run: path=value"},
			&cli.StringSliceFlag{Name: flagResources, Aliases: []string{"r"}, Usage: "the path of a file with resources that the configs use, as for run; may be a pattern"},
			&cli.StringSliceFlag{Name: flagEnvFile, Aliases: []string{"e"}, Usage: "the path of a file with environment variables, as for run; may be a pattern"},
			&cli.StringSliceFlag{Name: flagTemplates, Aliases: []string{"t"}, Usage: "the path of a file with a template that the configs use, as for run; may be a pattern. The outputs in it are not checked"},
			&cli.StringSliceFlag{Name: flagTopic, Usage: "a topic to look at for outputs whose topic depends on the message"},
			&cli.BoolFlag{Name: flagQuick, Usage: "only find out whether a broker answers and takes the credentials, within three seconds: for probes"},
		},
		Action: action,
	}
}

func action(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return errors.New("check takes the paths of one or more configs, see check --help")
	}
	for _, path := range c.Args().Slice() {
		if strings.HasPrefix(path, "-") {
			return fmt.Errorf("%s stands after the path of a config: flags come before all paths", path)
		}
	}
	if err := setEnvironment(c.StringSlice(flagEnvFile)); err != nil {
		return err
	}
	templates, err := read(c.StringSlice(flagTemplates))
	if err != nil {
		return err
	}
	for _, template := range templates {
		if err := service.RegisterTemplateYAML(template.YAML); err != nil {
			return fmt.Errorf("reading %s: %w", template.Name, err)
		}
	}
	opts := Options{Templates: templates, Set: c.StringSlice(flagSet), Topics: c.StringSlice(flagTopic), Quick: c.Bool(flagQuick)}
	if opts.Configs, err = read(c.Args().Slice()); err != nil {
		return err
	}
	if opts.Resources, err = read(c.StringSlice(flagResources)); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = Run(ctx, c.App.Writer, opts)
	if errors.Is(err, context.Canceled) {
		const exitInterrupted = 130 // 128 and the number of the signal
		return cli.Exit("interrupted", exitInterrupted)
	}
	return err
}

// read reads the files of paths, which may be patterns.
func read(patterns []string) ([]File, error) {
	var files []File
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err == nil && len(paths) == 0 {
			err = os.ErrNotExist
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", path, err)
			}
			files = append(files, File{path, string(text)})
		}
	}
	return files, nil
}
