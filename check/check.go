// Package check is the subcommand check. Before a config runs, it reports the problems
// of its kafka_guarded outputs, and how to solve each.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
	"github.com/kafka-guarded/kafka-guarded/output"
)

// Options are what to check.
type Options struct {
	Configs   []File
	Resources []File   // that go with each of the configs
	Set       []string // fields of the configs to set, as path=value
	Templates []File   // that the configs use

	// Topics are checked for outputs whose topic depends on the message.
	Topics []string
	// Quick checks only whether a broker answers and takes the credentials, in
	// three seconds at most: enough for a probe.
	Quick bool
}

// errFailing means that there are findings that are failing.
var errFailing = errors.New("messages would fail, or wait without end: see the lines that begin with fail")

// Run checks the outputs of the configs, and prints the findings. It also returns an
// error if something would fail.
func Run(ctx context.Context, w io.Writer, opts Options) error {
	bad, out := false, newPrinter(w)
	for _, file := range slices.Concat(opts.Configs, opts.Resources) {
		twice := duplicates(file)
		out.findings(twice)
		bad = bad || twice.failing()
	}
	if bad {
		return errFailing // --set does not say which config it means
	}
	for _, file := range opts.Templates {
		if strings.Contains(file.YAML, errorrouting.Component) {
			out.findings(findings{{doubtful, fmt.Sprintf("%s: its %s outputs are not looked at, since templates are not expanded here. Check a config that has them without the template", file.Name, errorrouting.Component)}})
		}
	}
	for _, file := range opts.Configs {
		c, err := find(file, opts.Resources, opts.Set)
		if err != nil {
			return err
		}
		out.findings(emptyVariables(file))
		for _, o := range c.outputs {
			out.outputs++
			if err := o.unquoted(); err != nil {
				return err
			}
			if err := o.check(ctx, opts); err != nil {
				return o.wrongType(err, slices.Concat(opts.Configs, opts.Resources))
			}
			if !opts.Quick {
				for _, source := range c.sources(o) {
					o.compare(source)
				}
				o.checked.position(o.around)
			}
			o.print(out)
			bad = bad || o.checked.failing()
		}
	}
	if out.outputs > 0 {
		out.sum()
	}
	switch err := ctx.Err(); {
	case err != nil:
		return err
	case out.outputs == 0:
		return fmt.Errorf("the config has no %s output", errorrouting.Component)
	case bad:
		return errFailing
	}
	return nil
}

func (o *found) check(ctx context.Context, opts Options) error {
	yaml, err := json.Marshal(o.fields) // which is YAML, too
	if err != nil {
		return err
	}
	conf, err := output.Spec().ParseYAML(string(yaml), nil)
	if err != nil {
		return err
	}
	o.checked = inspect(ctx, conf, opts)
	return nil
}

func (o *found) print(w *printer) {
	fmt.Fprintf(w, "%s: %s", o.file, o.path)
	if o.label != "" {
		fmt.Fprintf(w, " (%s)", o.label)
	}
	fmt.Fprintln(w)
	w.findings(o.checked.findings)
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// emptyVariables lists the environment variables of a config that are empty and have no
// default in it.
func emptyVariables(file File) (f findings) {
	var said []string
	for _, match := range variable.FindAllStringSubmatch(file.YAML, -1) {
		name := match[1]
		if os.Getenv(name) == "" && !slices.Contains(said, name) {
			said = append(said, name)
			f.add(doubtful, "%s: the environment variable %s is empty", file.Name, name)
		}
	}
	return f
}
