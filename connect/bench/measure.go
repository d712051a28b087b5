//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// table is a scenario on a target.
type table struct {
	scenario scenario
	target   *target
	rows     []row
}

// tables are the tables that the flags choose. Their targets are not started yet.
func (o options) tables() (tables []table, err error) {
	for _, s := range scenarios {
		on := s.on()
		if o.short {
			on = s.short
		}
		if !o.only.MatchString(s.name) {
			continue
		}
		var rows []row
		for _, r := range s.rows {
			if o.runners.MatchString(r.title()) {
				rows = append(rows, r)
			}
		}
		for _, name := range on {
			if len(rows) == 0 || len(o.targets) > 0 && !slices.Contains(o.targets, name) {
				continue
			}
			p, err := placeOf(name)
			if err != nil {
				return nil, err
			}
			tables = append(tables, table{s, &target{place: p}, rows})
		}
	}
	if len(tables) == 0 {
		return nil, errors.New("the flags leave nothing to run")
	}
	return tables, nil
}

// measure runs all rounds of all tables. The targets with three nodes of Kafka come
// first: later ones should not share the machine with three nodes.
func (o options) measure(ctx context.Context) (all samples, err error) {
	tables, err := o.tables()
	if err != nil {
		return nil, err
	}
	var large, others []table
	for _, t := range tables {
		if t.target.place.cluster == threeNodes {
			large = append(large, t)
		} else {
			others = append(others, t)
		}
	}
	var errs []error
	for _, part := range [][]table{large, others} {
		if len(part) > 0 && ctx.Err() == nil {
			some, err := o.measureOn(ctx, part)
			all, errs = append(all, some...), append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// measureOn starts the targets of the tables, measures, and ends the targets.
func (o options) measureOn(ctx context.Context, tables []table) (samples, error) {
	running := map[string]*cluster{}
	defer func() {
		for _, c := range running {
			c.stop()
		}
	}()
	// When the bench is cut, runs are given up, but the brokers go on until they have
	// ended.
	background := context.WithoutCancel(ctx)
	started := map[string]*target{}
	missing, warm := map[string]bool{}, map[string]bool{}
	for i := range tables {
		name := tables[i].target.name
		if started[name] == nil && !missing[name] {
			t, err := start(background, name, running)
			if err != nil && o.short && os.Getenv("CI") != "true" {
				fmt.Fprintln(os.Stderr, "skipped:", err)
				missing[name] = true
				continue
			}
			if err != nil {
				return nil, err
			}
			// Targets of the same cluster are warmed up together.
			if !warm[t.place.cluster] {
				if err := o.warm(ctx, t); err != nil && ctx.Err() == nil {
					return nil, err
				}
			}
			started[name], warm[t.place.cluster] = t, true
		}
		tables[i].target = started[name]
	}
	return o.run(ctx, slices.DeleteFunc(tables, func(t table) bool { return t.target == nil }))
}

// warm lets a new target get up to speed. A Java process takes a while.
func (o options) warm(ctx context.Context, t *target) error {
	if o.short {
		return nil
	}
	r := row{runner: produceSync}
	for range 10 {
		if _, err := (trial{options: o, table: table{target: t}, row: r}).run(ctx, map[key]int{}); err != nil {
			return fmt.Errorf("warming %s: %w", t.name, err)
		}
	}
	return nil
}

// run runs all rounds. Each round has the rows of a table in another order. Samples are
// kept when the context ends.
func (o options) run(ctx context.Context, tables []table) (all samples, err error) {
	counts := map[key]int{}
	var errs []error
	for round := range o.rounds {
		for _, t := range tables {
			if most := t.scenario.rounds; most > 0 && round >= most {
				continue
			}
			for i := range t.rows {
				r := trial{options: o, table: t, row: t.rows[(i+round)%len(t.rows)], round: round}
				s, err := r.run(ctx, counts)
				if ctx.Err() != nil {
					return all, errors.Join(errs...)
				}
				if err != nil {
					err = fmt.Errorf("%s, %s on %s, round %d: %w", s.Scenario, s.Row, s.Target, round+1, err)
					errs = append(errs, err)
					fmt.Fprintln(os.Stderr, "FAILED:", err)
					continue
				}
				all = append(all, s)
				fmt.Fprintf(os.Stderr, "round %d/%d: %s\n", round+1, o.rounds, s)
			}
		}
	}
	return all, errors.Join(errs...)
}
