// SPDX-License-Identifier: Apache-2.0

// Package keystore is the driver for keystores of Java programs: JKS, and PKCS #12 files
// with one private key, which others than Java read as well.
//
// A keystore (role server or client) holds the credential of a program: Install replaces
// one entry and keeps its alias. A truststore (role truststore, JKS) holds the certificates that a
// program lets in: Trust and Block add and remove entries.
package keystore

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Path           string        `option:"path" help:"absolute path of the keystore"`
	Role           string        `option:"role" default:"server" help:"server: listeners show its certificate; client: a program signs in with it; truststore: a program lets its certificates in"`
	Type           string        `option:"type" default:"pkcs12" help:"pkcs12 or jks, for a keystore that is not there yet"`
	Alias          string        `option:"alias" help:"of the entry; without one it is the only private key there"`
	Passphrase     driver.Secret `option:"passphrase" help:"what opens the keystore"`
	PassphraseFile string        `option:"passphrase-file" help:"absolute path of a file on that machine whose first line opens the keystore"`
	KeyPassphrase  driver.Secret `option:"key-passphrase" help:"what opens the entry of a JKS, where it is another"`
	Check          string        `option:"check" help:"command that ends with status 0 when the program can use the keystore as it is now"`
	Reload         string        `option:"reload" help:"command that makes the program read the keystore again; without one it does so by itself"`
	Listeners      []string      `option:"listeners" help:"where a server shows the certificate: tls://host:port?sni=name, https://... and so on"`
	ReloadCloses   bool          `option:"reload-closes" help:"the reload command ends open connections, as a restart does"`
	Timeout        time.Duration `option:"timeout" default:"1m" help:"how long each command may take"`
	Patience       time.Duration `option:"patience" default:"30s" help:"how long listeners may go on showing the old certificate after the reload"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("keystore", "Java keystores and truststores, and PKCS #12 files: replaces and removes entries, and runs the command that reloads", open)
}

// Door is one keystore.
type Door struct {
	Options
	check, reload []string
	listeners     []driver.Listener
}

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
	_ driver.Truster   = (*Door)(nil)
	_ driver.Blocker   = (*Door)(nil)
)

const truststore = "truststore"

func open(o Options) (*Door, error) {
	d := &Door{Options: o}
	d.Alias = strings.ToLower(d.Alias) // as Java does
	if !filepath.IsAbs(o.Path) || o.PassphraseFile != "" && !filepath.IsAbs(o.PassphraseFile) {
		return nil, invalid("options path and passphrase-file are absolute paths")
	}
	if o.Passphrase.IsZero() == (o.PassphraseFile == "") {
		return nil, invalid("give one of the options passphrase and passphrase-file")
	}
	if o.Role != "server" && o.Role != "client" && o.Role != truststore {
		return nil, invalid("option role is server, client or truststore, not %q", o.Role)
	}
	if o.Role != "server" && len(o.Listeners) > 0 && o.Role != truststore {
		return nil, invalid("option listeners: a client has none; leave it out, or set role to server")
	}
	if o.Type != "pkcs12" && o.Type != "jks" {
		return nil, invalid("option type is pkcs12 or jks, not %q", o.Type)
	}
	if o.Timeout < time.Second || o.Patience < 0 {
		return nil, invalid("option timeout is a second or more, and patience is not negative")
	}
	var err error
	if d.check, err = installing.Words(o.Check); err != nil {
		return nil, err
	}
	if d.reload, err = installing.Words(o.Reload); err != nil {
		return nil, err
	}
	d.listeners, err = installing.Listeners(o.Listeners)
	return d, err
}

// Verbs are those that the role leaves.
func (d *Door) Verbs() []string {
	if d.Role == truststore {
		return []string{"look", "trust", "block"}
	}
	return []string{"look", "install"}
}

// secrets returns what opens the keystore and its entry.
func (d *Door) secrets(ctx context.Context, h driver.Host) (store, key string, err error) {
	store = d.Passphrase.Reveal()
	if d.PassphraseFile != "" {
		text, err := h.ReadFile(ctx, d.PassphraseFile, 4<<10)
		if err != nil {
			return "", "", fmt.Errorf("couldn't read the passphrase: %w", err)
		}
		store, _, _ = strings.Cut(string(text), "\n")
		store = strings.TrimSuffix(store, "\r")
	}
	key = d.KeyPassphrase.Reveal()
	if key == "" {
		key = store
	}
	return store, key, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
