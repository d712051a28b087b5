package demo

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// exitInterrupted is the exit code of a program that Ctrl-C ended: 128 and the
// number of the signal.
const exitInterrupted = 130

// Command returns the subcommand demo.
func Command() *cli.Command {
	const messages, poison, recipe, config, keep, verbose = "messages", "poison", "recipe", "config", "keep", "verbose"
	return &cli.Command{
		Name:  "demo",
		Usage: "Show what kafka_guarded does, with a broker in the process and every message accounted for",
		Description: `
Starts a broker in the process, runs config/example.yaml against it, and then
reads the topics and the dead letters to say what became of every message. Fails
if any is lost, duplicated or not where it should be. With --recipe fallback,
runs config/fallback.yaml instead, and the accounts must be the same. With
--recipe http, starts config/http_gateway.yaml, and says what to send to it.

With --config, runs a config of your own instead. ${KAFKA_BROKERS} in it is the
broker, and topics are created as they are needed. Prints what they hold then.`[1:],
		Flags: []cli.Flag{
			&cli.IntFlag{Name: messages, Value: 10_000, Usage: "how many messages to send; with --config, the environment variable MESSAGES"},
			&cli.Float64Flag{Name: poison, Value: 0.01, Usage: "the share of them that Kafka can't take, from 0 to 1; with --config, the environment variable POISON"},
			&cli.StringFlag{Name: recipe, Value: Recipes[0], Usage: "which config to run: " + strings.Join(Recipes, " or ") + ", for what Kafka can't take, or " + GatewayRecipe + ", for results per record over HTTP"},
			&cli.StringFlag{Name: config, Usage: "the path of a config to run instead of config/example.yaml"},
			&cli.BoolFlag{Name: keep, Usage: "leave the broker up until Ctrl-C, and print its address"},
			&cli.BoolFlag{Name: verbose, Usage: "log what the engine does, to stderr"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return errors.New("demo takes no arguments, see demo --help")
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			// The second Ctrl-C ends the program at once.
			defer context.AfterFunc(ctx, stop)()

			o := Options{
				Messages: c.Int(messages),
				Poison:   c.Float64(poison),
				Recipe:   c.String(recipe),
				Verbose:  c.Bool(verbose),
				Keep:     c.Bool(keep),
				Out:      os.Stdout,
			}
			var err error
			if path := c.String(config); path != "" {
				env := map[string]string{}
				if c.IsSet(messages) {
					env["MESSAGES"] = strconv.Itoa(o.Messages)
				}
				if c.IsSet(poison) {
					env["POISON"] = strconv.FormatFloat(o.Poison, 'f', -1, 64)
				}
				err = Own(ctx, o, path, env)
			} else if o.Recipe == GatewayRecipe {
				err = Gateway(ctx, o)
			} else {
				_, err = Example(ctx, o)
			}
			if errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled) {
				return cli.Exit(errInterrupted, exitInterrupted)
			}
			return err
		},
	}
}
