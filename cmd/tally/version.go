// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show which build of Tallystick this is",
		Long:  "Show which build of Tallystick this is.\n\n" + exitStatuses("0 done"),
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, versionLine())
			return err
		},
	}
}

// versionLine is "tally v1.2.3 (revision 0123456789ab) go1.26.8 linux/amd64".
func versionLine() string {
	version, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = " (revision " + s.Value[:min(12, len(s.Value))] + ")"
			case s.Key == "vcs.modified" && s.Value == "true":
				revision += " (with changes)"
			}
		}
	}
	return "tally " + version + revision + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
