// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Named is a driver with options that the configuration names: of a door, or of a
// look for credentials.
type Named struct {
	Driver  string
	Options map[string]string
}

// options returns those of the driver of a source.
func (c *Config) options(name string) []driver.Option {
	at := slices.IndexFunc(c.Drivers, func(d driver.Driver) bool { return d.Name() == name })
	if at < 0 {
		return nil
	}
	return c.Drivers[at].Options()
}

// mayName refuses a source by whose options somebody who is not at this machine would have the
// server read a file, or sign in somewhere, that whoever has the machine never named: the role
// of an administrator opens Tallystick and not the machine, nor its network. All of
// them must be as they are together somewhere in the configuration or in a source that is there
// already, so that no password comes to the host of another. Sources that are there were
// added at the machine, or are such themselves.
func (s *Sources) mayName(ctx context.Context, by gate.Actor, one store.Source) error {
	if by.Via == "local" || one.Kind != store.SourceDriver {
		return nil
	}
	bound := map[string]string{} // with what stands where nothing is said
	var said []string
	for _, o := range s.options(one.Driver) {
		if o.Free || o.Secret {
			continue
		}
		bound[o.Name] = o.Default
		if value := one.Options[o.Name]; value != "" && value != o.Default {
			said = append(said, o.Name)
		}
	}
	if len(said) == 0 {
		return nil
	}
	there, err := s.DB.Sources(ctx)
	if err != nil {
		return err
	}
	named := slices.Clone(s.Named)
	for i := range there {
		named = append(named, Named{there[i].Driver, there[i].Options})
	}
	same := func(n Named) bool {
		for name, usual := range bound {
			if orUsual(n.Options[name], usual) != orUsual(one.Options[name], usual) {
				return false
			}
		}
		return n.Driver == one.Driver
	}
	if slices.ContainsFunc(named, same) {
		return nil
	}
	return fmt.Errorf("%w: nobody at the machine of this server has named this together: %s", tallystick.ErrDenied, strings.Join(said, ", "))
}

// mayNameHint is what to do about it.
const mayNameHint = `Such options lead to files and hosts. Add one source with them by "tally source add" on the machine; ` +
	"then others that differ in the rest, such as the tenant, can be added from anywhere."

func orUsual(value, usual string) string {
	if value == "" {
		return usual
	}
	return value
}

// object names a source that is to be added, for the record: of a driver with its options,
// because they say which credential is shown to whom. What its driver does not know, or
// calls a secret, is there by name alone: somebody may have taken it for the place of one.
func (s *Sources) object(one store.Source) string {
	text := "add " + one.Name
	if one.Driver == "" {
		return text
	}
	text += ", driver " + one.Driver
	known := s.options(one.Driver)
	for _, name := range slices.Sorted(maps.Keys(one.Options)) {
		text += " " + name
		if slices.ContainsFunc(known, func(o driver.Option) bool { return o.Name == name && !o.Secret }) {
			text += fmt.Sprintf("=%q", one.Options[name])
		}
	}
	return text
}

// refuse is mayName with its answer on record, and what to do about it.
func (s *Sources) refuse(ctx context.Context, by gate.Actor, one store.Source) error {
	if err := s.mayName(ctx, by, one); err != nil {
		return problem.With(s.Gate.Refuse(ctx, by, gate.ManageSources, s.object(one), err), mayNameHint)
	}
	return nil
}
