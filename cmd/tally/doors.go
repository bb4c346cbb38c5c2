// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
)

// doorFlags say which doors are meant: those of the server or of an agent.
type doorFlags struct {
	config, agent string
	json          bool
}

func (f *doorFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "the doors of this configuration `FILE`")
	cmd.Flags().StringVar(&f.agent, "agent-config", "", "the doors of an agent with this configuration `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "write JSON, one object a line")
}

func (p *program) doorsCommand() *cobra.Command {
	cmd := group("doors", "Try out the doors that a recall works at")
	cmd.Long = `Try out the doors that a recall works at: the installed systems of the
configuration that show a credential, or let others in by theirs. These commands
need no server and change nothing. docs/doors.md is the manual.`
	cmd.AddCommand(p.doorsList(), p.doorsLook(), p.doorsAccount())
	return cmd
}

func doorStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such door", "2 bad usage, or a configuration that cannot be used")
}

func (p *program) doorsList() *cobra.Command {
	var flags doorFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the doors of a configuration",
		Long: `List the doors of a configuration, and what their drivers can do there. Nothing is
connected to.

` + doorStatuses(),
		Example: "  tally doors list --config tally.yaml\n  tally doors list --agent-config agent.yaml --json", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			return p.withDoors(flags, func(set *doors.Set) error {
				list := set.Doors()
				if len(list) == 0 {
					p.say("there are no doors in the configuration; docs/doors.md says how to add one")
				}
				return showAll(p, flags.json, list, []string{"DOOR", "DRIVER", "HOST", "CAN", "HOLDER", "LETS IN FOR", "OWNER"}, doorCells)
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func doorCells(d doors.Door) []string {
	return []string{d.Name, d.Driver, hostWord(d), strings.Join(d.Verbs, ", "), dash(d.Holder), dash(strings.Join(d.RelyingParties, ", ")), dash(d.Owner)}
}

func hostWord(d doors.Door) string {
	if d.Host == "" {
		return "this machine"
	}
	return d.Host
}

func (p *program) doorsLook() *cobra.Command {
	var flags doorFlags
	cmd := &cobra.Command{
		Use: "look NAME", Short: "Show how a door stands now",
		Long: `Show how a door stands now: where it listens, what it shows there and has in its
files, whom it lets in and whom it refuses. What a recall finds out first is found
out here before there is an emergency. It only reads: files, answers of the server's
own tools, and handshakes at the door's addresses.

` + doorStatuses(),
		Example: "  tally doors look shop-front --config tally.yaml", Args: exactly(1, "the name of a door"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withDoors(flags, func(set *doors.Set) error { return p.look(cmd.Context(), set, args[0], flags.json) })
		},
	}
	flags.addTo(cmd)
	return cmd
}

// withDoors opens the doors of a configuration, for looking alone: there are no keys.
func (p *program) withDoors(flags doorFlags, fn func(*doors.Set) error) error {
	c := doors.Config{Drivers: drivers.All(), Now: p.now}
	if flags.agent != "" {
		if flags.config != "" {
			return misuse(errors.New("--config and --agent-config are two configurations"), "name one of them")
		}
		a, err := config.LoadAgent(flags.agent)
		if err != nil {
			return err
		}
		c.Doors, c.Hosts = a.Doors, a.Hosts
	} else {
		own, err := config.Load(flags.config, p.getenv)
		if err != nil {
			return err
		}
		c.Doors, c.Hosts = own.Doors, own.Hosts
	}
	set, err := doors.Open(c)
	if err != nil {
		return err
	}
	return errors.Join(fn(set), set.Close())
}

// look shows one door.
func (p *program) look(ctx context.Context, set *doors.Set, name string, asJSON bool) error {
	view, err := set.Look(ctx, name)
	if err != nil {
		return err
	}
	// A proof without anything to prove is a handshake with every address.
	shown, err := set.Do(ctx, doors.Task{Act: tallystick.ActProve, Door: name})
	if err != nil {
		return err
	}
	list := set.Doors()
	door := list[slices.IndexFunc(list, func(d doors.Door) bool { return d.Name == name })]
	if asJSON {
		text, err := json.Marshal(doorView{Door: door, View: view, Attempts: shown.Attempts})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.out, string(text))
		return err
	}
	s := &sheet{out: p.out}
	s.print("Door %s (%s, on %s)\n", clean(door.Name), clean(door.Driver), clean(hostWord(door)))
	s.put("Recalls can", canWords(door))
	s.put("Holder", door.Holder)
	s.list("Lets in for", door.RelyingParties)
	s.list("Meant for", door.Holders)
	s.put("Owner", words(door.Owner, door.Customer))
	viewSheet{s, p.now()}.print(view, shown.Attempts)
	return s.err
}

// canWords says what a recall can do at a door.
func canWords(d doors.Door) string {
	meaning := map[string]string{"install": "replace what it shows", "trust": "let a new one in beside the old", "block": "make it refuse one", "probe": "try one there in its own way", "rotate": "give its accounts new secrets", "supply": "have it sign in with a new secret"}
	var can []string
	for _, verb := range d.Verbs {
		if meaning[verb] != "" {
			can = append(can, meaning[verb])
		}
	}
	if len(can) == 0 {
		return "only look here"
	}
	return strings.Join(can, "; ")
}
