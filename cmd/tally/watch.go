// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/directory"
)

func (p *program) watchCommand() *cobra.Command {
	cmd := group("watch", "See what changes in a system, as it happens")
	cmd.AddCommand(p.watchDirectory())
	return cmd
}

func (p *program) watchDirectory() *cobra.Command {
	var set []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "directory DRIVER", Short: "See who may sign in to a directory change, as it happens",
		Long: `See who may sign in to a directory change, as it happens, until Ctrl-C. The DRIVER is ad
for Active Directory, of Windows or of Samba, and ldap for others such as OpenLDAP; its
options, which "tally drivers" lists, are given by --set. It reads everything once,
remembers it in memory, and then writes a line for each change: when it was made, of
what, and what stood there before. It needs no set-up and keeps nothing.

To keep the changes, have them judged, and be able to take one back, let "tally up" read
the directory: "tally source add NAME --kind driver --driver DRIVER --set ...".

` + exitStatuses("0 stopped as asked", "1 something failed", "2 bad usage"),
		Example: `  tally watch directory ad --set url=ldaps://dc1.lab.test --set bind=reader@lab.test --set password-file=/etc/tally/reader
  tally watch directory ldap --set url=ldapi:///var/run/slapd/ldapi --set external=true --json`,
		Args: exactly(1, "the name of a driver"),
		RunE: func(cmd *cobra.Command, args []string) error {
			watcher, err := openDirectory(args[0], set)
			if err != nil {
				return err
			}
			return p.followDirectory(cmd.Context(), watcher, asJSON)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return slices.Sorted(maps.Keys(directoryDrivers())), cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "set an option of the driver, as `NAME=VALUE`; it may be given again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

// directoryDrivers are those that see a directory change, and can take a change back.
func directoryDrivers() map[string]driver.Driver {
	named := map[string]driver.Driver{}
	for _, d := range drivers.All() {
		if slices.Contains(d.Verbs(), "undo") {
			named[d.Name()] = d
		}
	}
	return named
}

// openDirectory makes a driver ready with the options of --set.
func openDirectory(name string, set []string) (driver.Watcher, error) {
	known := directoryDrivers()
	d, ok := known[name]
	if !ok {
		return nil, misuse(fmt.Errorf("%q is no driver of a directory", clean(name)), "it is one of "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	values := map[string]string{}
	for _, text := range set {
		option, value, ok := strings.Cut(text, "=")
		if !ok || option == "" {
			return nil, misuse(fmt.Errorf("--set %q is not NAME=VALUE", clean(text)), "write it as --set url=ldaps://dc1.lab.test")
		}
		values[option] = value
	}
	if values["url"] == "" {
		return nil, misuse(fmt.Errorf("there is no --set url="), "name the server: --set url=ldaps://dc1.lab.test")
	}
	opened, err := d.Open(values)
	if err != nil {
		return nil, err
	}
	return opened.(driver.Watcher), nil
}

// followDirectory writes down changes as they come.
func (p *program) followDirectory(ctx context.Context, watcher driver.Watcher, asJSON bool) error {
	said := ""
	follower := directory.Follower{
		Watcher: watcher, Now: p.now,
		Told: func(c tallystick.Change) error {
			if asJSON {
				return json.NewEncoder(p.out).Encode(c)
			}
			_, err := fmt.Fprintln(p.out, liveLine(&c))
			return err
		},
		Trouble: func(trouble driver.WatchTrouble) {
			text := clean(trouble.Err.Error())
			if trouble.Do != "" {
				text += "\nhint: " + clean(trouble.Do)
			}
			if text != said { // it is tried again every few seconds
				p.say("%s", text)
				said = text
			}
		},
		Ready: func(objects int) {
			p.say("everything is read, and %s remembered; waiting for what changes from now on; Ctrl-C ends it", plural(objects, "object"))
		},
	}
	p.say("reading the directory")
	return follower.Run(ctx)
}

// liveLine is a change in one line.
func liveLine(c *tallystick.Change) string {
	what := strings.Join(append(slices.Clone(c.Credential), c.Grants...), ", ")
	switch {
	case c.Before != "" && c.After != "":
		what = c.Before + " -> " + c.After
	case what == "":
		what = cmp.Or(c.After, c.Before)
	}
	return clean(strings.TrimRight(fmt.Sprintf("%s  %-18s  %s  %s  %s", instant(c.Time), c.Kind, c.Target, c.Detail, what), " "))
}
