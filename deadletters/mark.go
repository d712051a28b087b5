package deadletters

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// mark says which letters of a source are done, in any run and with any filter.
type mark struct {
	Passes []*pass `json:"passes"`
	// Firsts are those of the source, as of the last run.
	Firsts map[string]string `json:"firsts,omitempty"`
}

// follow enters the firsts of the source. A file that took the place of another has letters
// of its own, which must not be taken for those that are done.
func (m *mark) follow(firsts map[string]string) error {
	for part, first := range firsts {
		if was := m.Firsts[part]; was != "" && was != first {
			return fmt.Errorf("%s has another first letter than when letters of it were sent, so another file took its place", part)
		}
	}
	if m.Firsts == nil {
		m.Firsts = map[string]string{}
	}
	maps.Copy(m.Firsts, firsts)
	return nil
}

// pass is the progress of one filter through a source. A later run continues it, also
// with letters that came since.
type pass struct {
	Filter *filter `json:"filter"`
	// Next is the place in each part before which all chosen letters are done.
	Next map[string]int64 `json:"next"`
	// Sending has the end of each batch that was begun and not finished. A run removes
	// its own when the batch is done. Those of killed runs stay: letters before these
	// places may have been sent.
	Sending map[string][]int64 `json:"sending,omitempty"`
	Account account            `json:"account"`
	// Owner is the last run that wrote it. If another run finds it changed, it ends:
	// two runs at a time would send letters twice.
	Owner string `json:"owner"`
}

// done reports whether a letter is done, in any pass.
func (m *mark) done(l *Letter) bool {
	return slices.ContainsFunc(m.Passes, func(p *pass) bool {
		return l.at.offset < p.Next[l.at.part] && p.Filter.matches(l)
	})
}

// perhaps returns how often killed runs may have sent a letter that is not done.
func (m *mark) perhaps(l *Letter) (times int64) {
	for _, p := range m.Passes {
		if all := p.Sending[l.at.part]; len(all) > 0 && p.Filter.matches(l) {
			for _, to := range all {
				if l.at.offset < to {
					times++
				}
			}
		}
	}
	return times
}

// begin enters that a batch up to these places is being sent.
func (p *pass) begin(next map[string]int64) {
	for part, to := range next {
		p.Sending[part] = append(p.Sending[part], to)
	}
}

// abandon undoes begin: no letter of the batch was sent.
func (p *pass) abandon(next map[string]int64) {
	for part := range next {
		p.Sending[part] = p.Sending[part][:len(p.Sending[part])-1]
	}
}

// finish enters that a batch is done. Entries of later places stay.
func (p *pass) finish(next map[string]int64) {
	for part, to := range next {
		p.Next[part] = to
		p.Sending[part] = slices.DeleteFunc(p.Sending[part], func(sent int64) bool { return sent <= to })
		if len(p.Sending[part]) == 0 {
			delete(p.Sending, part)
		}
	}
}

// clone is a copy that does not change with the passes.
func (m *mark) clone() *mark {
	c := &mark{}
	for _, p := range m.Passes {
		frozen := *p
		frozen.Next, frozen.Sending = maps.Clone(p.Next), map[string][]int64{}
		for part, all := range p.Sending {
			frozen.Sending[part] = slices.Clone(all)
		}
		c.Passes = append(c.Passes, &frozen)
	}
	return c
}

// pass returns the pass with the filter, and adds one if there is none.
func (m *mark) pass(f *filter) *pass {
	for _, p := range m.Passes {
		if p.Filter.String() == f.String() {
			p.Owner = rand.Text()
			return p
		}
	}
	p := &pass{Filter: f, Next: map[string]int64{}, Sending: map[string][]int64{}, Owner: rand.Text()}
	m.Passes = append(m.Passes, p)
	return p
}

func (m *mark) compile() error {
	for _, p := range m.Passes {
		if p.Filter == nil {
			return errors.New("it has a pass without a filter")
		}
		if err := p.Filter.compile(); err != nil {
			return err
		}
		if p.Next == nil {
			p.Next = map[string]int64{}
		}
		if p.Sending == nil {
			p.Sending = map[string][]int64{}
		}
	}
	return nil
}

// errOwner ends a run that is not the only one.
var errOwner = errors.New("another redrive of the same letters has begun since: this one ends, so that nothing is sent twice")

// marks keeps a mark.
type marks interface {
	String() string
	load(ctx context.Context) (*mark, error)
	// save writes a pass of the mark. It returns errOwner if another run wrote the pass
	// since. The first save of a run takes it over.
	save(ctx context.Context, m *mark, p *pass) error
}

// fileMarks keeps a mark in a file.
type fileMarks struct {
	path  string
	owned bool
}

func (f *fileMarks) String() string { return f.path }

func (f *fileMarks) load(context.Context) (*mark, error) {
	m := &mark{}
	content, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return m, nil
	case err != nil:
		return nil, fmt.Errorf("reading the mark: %w", err)
	}
	if err := json.Unmarshal(content, m); err != nil {
		return nil, fmt.Errorf("reading the mark %s: %w", f.path, err)
	}
	if err := m.compile(); err != nil {
		return nil, fmt.Errorf("reading the mark %s: %w", f.path, err)
	}
	return m, nil
}

func (f *fileMarks) save(ctx context.Context, m *mark, p *pass) error {
	if f.owned {
		there, err := f.load(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(there.Passes, func(o *pass) bool { return o.Owner == p.Owner }) {
			return errOwner
		}
	}
	f.owned = true
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(f.path, content); err != nil {
		return fmt.Errorf("writing the mark: %w", err)
	}
	return nil
}

// replace writes a file so that it has either its old content or its new one at any
// time.
func replace(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".redrive-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Sync()
	}
	if e := temporary.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
	}
	return err
}
