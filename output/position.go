package output

import (
	"fmt"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// OnConfigParse reads the whole config of a program, so that its kafka_guarded
// outputs know where their errors go, and rejects a config that would stall. A
// program passes it to service.CLIOptOnConfigParse. Without it, an output goes by
// its path, which does not tell everything.
func OnConfigParse(conf *service.ParsedConfig) error {
	config := map[string]any{}
	for _, section := range errorrouting.Sections {
		if conf.Contains(section) {
			v, err := conf.FieldAny(section)
			if err != nil {
				return err
			}
			config[section] = v
		}
	}
	outputs := errorrouting.Read(config)
	for _, o := range outputs {
		if o.Stalls != "" {
			return stalls(o.Stalls)
		}
	}
	parsed.Lock()
	defer parsed.Unlock()
	parsed.outputs = outputs
	return nil
}

// stalls is the error about a batching without a period in a child output.
func stalls(path string) error {
	return fmt.Errorf("%s waits for a number of messages, of which there may never be enough while their batch waits for it: set its period", path)
}

// parsed has the outputs of the config that the program was started with.
var parsed struct {
	sync.Mutex
	outputs []errorrouting.Output
}

// position is the position of an output in the config.
type position struct {
	errorrouting.Output
	whole bool // the config was read, else only the path is known
}

// positionOf returns the position of an output. One that was read from the config
// is for the first output that asks for it: a second output with the same path is
// of a config that was changed since.
func positionOf(mgr *service.Resources) position {
	path := strings.Join(mgr.Path(), ".")
	parsed.Lock()
	defer parsed.Unlock()
	for i, o := range parsed.outputs {
		if o.Path == path && o.Label == mgr.Label() {
			parsed.outputs = append(parsed.outputs[:i:i], parsed.outputs[i+1:]...)
			return position{o, true}
		}
	}
	return position{Output: errorrouting.Output{Path: path, Label: mgr.Label(), Routing: errorrouting.OfPath(mgr.Path())}}
}

// unseen returns a warning where the rest of the config is not read, as in streams
// mode and in a template: messages that Benthos would lose are not held there.
func unseen(c clientConfig, around position, deadLetter bool) string {
	switch {
	case around.whole || deadLetter || c.reports != reportAuto:
		return ""
	case around.Fallback && around.PerMessage:
		return fmt.Sprintf("By its path this output is in a fallback, to which it reports failures by message. The rest of the config is not seen here: if there are processors on this output that drop, split or multiply messages, some are lost. Set %s, or %s to per_batch, or have them in the pipeline", fieldDeadLetter, fieldReportFailures)
	case !around.Routed:
		return fmt.Sprintf("The rest of the config is not seen here, as in streams mode or in a template: if a processor before this output splits batches, or drops what it has seen before as dedupe does, messages that fail are lost. Set %s, or put this output first in a fallback", fieldDeadLetter)
	}
	return ""
}

// bareFiles returns warnings about dead letters in files that are resources.
func bareFiles(c clientConfig, around errorrouting.Output) (texts []string) {
	for _, f := range around.Files {
		if f.Bare && c.format == formatAuto {
			texts = append(texts, bareHint(f))
		}
	}
	return texts
}

// deletion returns a warning where the input deletes failed messages, and no other
// component takes them. The other warnings go by the routing that it returns, in
// which a component takes them.
func deletion(c clientConfig, around errorrouting.Output, deadLetter bool) (errorrouting.Output, string) {
	if !around.Deletes || around.Routed || around.Fallback || deadLetter || c.reports != reportAuto {
		return around, ""
	}
	around.Routed = true
	return around, fmt.Sprintf("Nothing takes the messages that fail for good, for example because they are too large, and the input deletes what fails (auto_replay_nacks is false): they are lost. Set %s, or put this output first in a fallback", fieldDeadLetter)
}
