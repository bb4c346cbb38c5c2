// SPDX-License-Identifier: Apache-2.0

// Package pemfile is the driver for everything that reads its credential from PEM files:
// the files are replaced, a command of the operator checks them, another makes the
// program read them, and the listeners are looked at.
//
// It is the general driver. A server that lets others in by their certificates needs one
// that knows it: files say nothing of who gets in.
package pemfile

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Certificate string        `option:"certificate" help:"absolute path of the certificate, with those above it unless chain names a file for them"`
	Chain       string        `option:"chain" help:"absolute path of the certificates above it, where they have a file of their own"`
	Key         string        `option:"key" help:"absolute path of the private key; it may be the same file as certificate"`
	Bundle      string        `option:"bundle" help:"absolute path of one file for all of it, in place of the three others"`
	KeyFirst    bool          `option:"key-first" help:"in a file that has both, the key stands before the certificate"`
	Role        string        `option:"role" default:"server" help:"server: listeners show the certificate; client: a program signs in with it"`
	Check       string        `option:"check" help:"command that ends with status 0 when the program can use the files as they are now"`
	Reload      string        `option:"reload" help:"command that makes the program read the files again; without one it does so by itself"`
	Listeners   []string      `option:"listeners" help:"where a server shows the certificate: tls://host:port?sni=name, https://..., imap://... and so on"`
	Timeout     time.Duration `option:"timeout" default:"1m" help:"how long each command may take"`
	Patience    time.Duration `option:"patience" default:"30s" help:"how long listeners may go on showing the old certificate after the reload"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("pemfile", "credentials in PEM files: replaces them, runs the commands that check and reload, and looks at the listeners", open)
}

// Door is one set of files.
type Door struct {
	files         []file
	check, reload []string
	listeners     []driver.Listener
	timeout       time.Duration
	patience      time.Duration
}

// A file is one of the files, with what stands in it.
type file struct {
	path  string
	parts []installing.Part
}

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
)

func open(o Options) (*Door, error) {
	d := &Door{timeout: o.Timeout, patience: o.Patience}
	if d.timeout < time.Second || d.patience < 0 {
		return nil, invalid("option timeout is a second or more, and patience is not negative")
	}
	var err error
	if d.files, err = layout(o); err != nil {
		return nil, err
	}
	for _, command := range []struct {
		text  string
		words *[]string
	}{{o.Check, &d.check}, {o.Reload, &d.reload}} {
		if *command.words, err = installing.Words(command.text); err != nil {
			return nil, err
		}
	}
	if d.listeners, err = installing.Listeners(o.Listeners); err != nil {
		return nil, err
	}
	switch {
	case o.Role == "client" && len(d.listeners) > 0:
		return nil, invalid("option listeners: a client has none; leave it out, or set role to server")
	case o.Role != "client" && o.Role != "server":
		return nil, invalid("option role is server or client, not %q", o.Role)
	}
	return d, nil
}

// layout says which parts stand in which file, the certificate's first: a call that was
// killed between two files is known by the new certificate that stands there already.
func layout(o Options) ([]file, error) {
	var files []file
	add := func(path string, part installing.Part) {
		at := slices.IndexFunc(files, func(f file) bool { return f.path == path })
		switch {
		case path == "":
		case at < 0:
			files = append(files, file{path, []installing.Part{part}})
		case part == installing.Key && o.KeyFirst:
			files[at].parts = slices.Insert(files[at].parts, 0, part)
		default:
			files[at].parts = append(files[at].parts, part)
		}
	}
	switch {
	case o.Bundle != "" && o.Certificate+o.Chain+o.Key != "":
		return nil, invalid("option bundle stands in place of certificate, chain and key: leave out one or the other")
	case o.Bundle != "":
		o.Certificate, o.Key = o.Bundle, o.Bundle
	case o.Certificate == "" || o.Key == "":
		return nil, invalid("name the files: option bundle, or certificate and key")
	}
	first := installing.Chain
	if o.Chain != "" {
		first = installing.Leaf
	}
	add(clean(o.Certificate), first)
	add(clean(o.Chain), installing.Above)
	add(clean(o.Key), installing.Key)
	for _, f := range files {
		if !filepath.IsAbs(f.path) {
			return nil, invalid("%q is not an absolute path", f.path)
		}
	}
	return files, nil
}

func clean(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Clean(path)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
