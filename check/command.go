package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Command returns the subcommand check.
func Command() *cli.Command {
	const resources = "resources"
	return &cli.Command{
		Name:      "check",
		Usage:     "Check the kafka_guarded outputs of a config against their cluster, without writing to it",
		ArgsUsage: "CONFIG",
		Description: `
For each kafka_guarded output in the config, wherever it is: do the brokers
answer, are the credentials accepted, does the topic exist, are there the rights
to write to it and to read what it accepts, and do the sizes go together? Prints
a line for each, with what to do, that begins with

  ok     as it should be
  ?      the cluster does not tell
  warn   it works, but perhaps not as it is meant
  fail   messages would fail, or wait without end

and fails if there is one of the last kind. Writes nothing, and creates no
topic.`[1:],
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: resources, Aliases: []string{"r"}, Usage: "the path of a file with resources that the config uses, as for run; may be a pattern"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return errors.New("check takes the path of one config, see check --help")
			}
			config, err := os.ReadFile(c.Args().First())
			if err != nil {
				return fmt.Errorf("reading the config: %w", err)
			}
			var extra []string
			for _, pattern := range c.StringSlice(resources) {
				paths, err := filepath.Glob(pattern)
				if err == nil && len(paths) == 0 {
					err = errors.New("no such file")
				}
				if err != nil {
					return fmt.Errorf("reading resources %s: %w", pattern, err)
				}
				for _, path := range paths {
					yaml, err := os.ReadFile(path)
					if err != nil {
						return fmt.Errorf("reading resources: %w", err)
					}
					extra = append(extra, string(yaml))
				}
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			err = Run(ctx, os.Stdout, string(config), extra...)
			if errors.Is(err, context.Canceled) {
				const exitInterrupted = 130 // 128 and the number of the signal
				return cli.Exit("interrupted", exitInterrupted)
			}
			return err
		},
	}
}
