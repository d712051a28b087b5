package guard

import (
	"context"
	"slices"
)

// mayGo returns those of the group that nothing holds, and settles the others.
func (i *search) mayGo(group []*slot) []*slot {
	w := i.write
	switch {
	case w.ctx.Err() != nil:
		w.leave(group, context.Cause(w.ctx))
		return nil
	case i.held != nil:
		w.leave(group, i.held)
		return nil
	case i.heldKeys == nil:
		return group
	}
	return slices.DeleteFunc(slices.Clone(group), func(s *slot) bool {
		key := s.record().Key
		before := i.heldKeys[string(key)]
		if key == nil || before == nil || s.index < before.index {
			return false
		}
		w.leave([]*slot{s}, before.verdict().Failure)
		return true
	})
}

// hold has what comes after a slot wait that failed for a reason that may pass.
func (i *search) hold(s *slot) {
	if !s.refusal.alone {
		i.held = s.verdict().Failure
		return
	}
	i.holdKey(s)
}

// holdKey has what comes after a slot wait that has its key.
func (i *search) holdKey(s *slot) {
	key := s.record().Key
	if key == nil {
		return
	}
	if i.heldKeys == nil {
		i.heldKeys = map[string]*slot{}
	}
	if first := i.heldKeys[string(key)]; first == nil || s.index < first.index {
		i.heldKeys[string(key)] = s
	}
}
