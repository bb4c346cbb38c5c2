// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A careful host writes what is in the home of an account as that account. Whoever owns
// a directory can put a link into it between our look and our write, and root would
// write where the link leads.
type careful struct {
	driver.Host
	owners map[string]account // of files, by their path
}

// replace puts standard input in the place of a file: at once, and with its mode.
const replace = `set -e
f=$(readlink -f -- "$1"); t=$(mktemp -- "$f.XXXXXX"); trap 'rm -f -- "$t"' EXIT
cat >"$t"; test ! -e "$f" || chmod --reference="$f" -- "$t"; sync -- "$t"; mv -f -- "$t" "$f"; trap - EXIT`

// WriteFile writes a file as its account.
func (c careful) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	owner, ok := c.owners[path]
	if !ok {
		return c.Host.WriteFile(ctx, path, content, mode)
	}
	output, err := c.Host.Run(ctx, driver.Command{
		Args:  []string{"setpriv", "--reuid=" + owner.id, "--regid=" + owner.group, "--init-groups", "--", "sh", "-c", replace, "sh", path},
		Stdin: content,
	})
	if err == nil && output.Exit != 0 {
		err = fmt.Errorf("%w: couldn't write %s as %s: %s", tallystick.ErrDenied, path, owner.name, installing.Said(output))
	}
	return err
}

// careful returns the host for writing: it is another one where this is root.
func (s *site) careful(h driver.Host) driver.Host {
	c := careful{h, map[string]account{}}
	for _, a := range s.accounts {
		for path := range a.own {
			if s.root && a.id != "0" {
				c.owners[path] = a
			}
		}
	}
	return c
}
