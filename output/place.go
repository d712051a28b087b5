package output

import (
	"fmt"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/placement"
)

// OnConfigParse looks at the whole config of a program, so that its kafka_guarded
// outputs know what is around them, and refuses one that would stall. A program
// gives it to service.CLIOptOnConfigParse. Without it, an output goes by its path,
// which does not tell everything.
func OnConfigParse(conf *service.ParsedConfig) error {
	config := map[string]any{}
	for _, section := range placement.Sections {
		if conf.Contains(section) {
			v, err := conf.FieldAny(section)
			if err != nil {
				return err
			}
			config[section] = v
		}
	}
	outputs := placement.Read(config)
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

// stalls is the error for a batching in a child output without a period.
func stalls(path string) error {
	return fmt.Errorf("%s waits for a number of messages, of which there may never be enough while their batch waits for it: set its period", path)
}

// parsed has the outputs of the config that the program was started with.
var parsed struct {
	sync.Mutex
	outputs []placement.Output
}

// surroundings is what an output knows of what is around it.
type surroundings struct {
	placement.Output
	whole bool // it was found in the config, and not guessed from the path
}

// surroundingsOf returns what is around an output. What was found in the config is
// for the first output that asks for it: another one with the same path is of a
// config that was changed since.
func surroundingsOf(mgr *service.Resources) surroundings {
	path := strings.Join(mgr.Path(), ".")
	parsed.Lock()
	defer parsed.Unlock()
	for i, o := range parsed.outputs {
		if o.Path == path && o.Label == mgr.Label() {
			parsed.outputs = append(parsed.outputs[:i:i], parsed.outputs[i+1:]...)
			return surroundings{o, true}
		}
	}
	return surroundings{Output: placement.Output{Path: path, Label: mgr.Label(), Place: placement.OfPath(mgr.Path())}}
}

// unseen returns what to warn of where the rest of the config is not seen, as in
// streams mode and in a template: failures that Benthos would lose are not held.
func unseen(c clientConfig, around surroundings, deadLetter bool) string {
	switch {
	case around.whole || deadLetter || c.reports != reportAuto:
		return ""
	case around.Fallback && around.TakenApart:
		return fmt.Sprintf("By its path this output is in a fallback, to which it reports failures by message. The rest of the config is not seen here: if there are processors on this output that drop, split or multiply messages, some are lost. Set %s, or %s to per_batch, or have them in the pipeline", fieldDeadLetter, fieldReportFailures)
	case !around.Routed:
		return fmt.Sprintf("The rest of the config is not seen here, as in streams mode or in a template: if a processor before this output splits batches, or drops what it has seen before as dedupe does, messages that fail are lost. Set %s, or put this output first in a fallback", fieldDeadLetter)
	}
	return ""
}

// bareFiles returns what to warn of dead letters in files that are resources.
func bareFiles(c clientConfig, around placement.Output) (texts []string) {
	for _, f := range around.Files {
		if f.Bare && c.format == formatAuto {
			texts = append(texts, bareHint(f.Path))
		}
	}
	return texts
}

// deletion returns what to warn of where the input deletes what fails, and nothing
// else takes it. The place that it returns is for the other warnings: there, the
// failures go somewhere.
func deletion(c clientConfig, around placement.Output, deadLetter bool) (placement.Output, string) {
	if !around.Deletes || around.Routed || around.Fallback || deadLetter || c.reports != reportAuto {
		return around, ""
	}
	around.Routed = true
	return around, fmt.Sprintf("Nothing takes the messages that fail for good, for example because they are too large, and the input deletes what fails (auto_replay_nacks is false): they are lost. Set %s, or put this output first in a fallback", fieldDeadLetter)
}
