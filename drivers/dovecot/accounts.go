// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/editing"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/signin"
)

// A seat is where the password of an account stands.
type seat struct {
	config  *block
	name    string        // in the files
	user    string        // as Dovecot calls it
	current *editing.File // nil: its password is not in a file
	old     *editing.File // where the one before may stand, too; nil: nowhere
	two     bool          // Dovecot asks old as well
	notes   []string
}

// seat finds the passwd-files of an account.
func (d *door) seat(ctx context.Context, h driver.Host, account string) (*seat, error) {
	if account == "" || account[0] == '#' || strings.ContainsAny(account, ":\r\n\x00") {
		return nil, invalid("%q is no name of an account of Dovecot", account)
	}
	c, err := d.read(ctx, h)
	if err != nil {
		return nil, err
	}
	s := &seat{config: c, user: account}
	if strings.Contains(c.values["auth_username_format"], "%L") {
		s.user = strings.ToLower(account)
	}
	at, err := d.accountsAt(c)
	if err != nil || at == nil {
		s.notes = append(s.notes, "its password is in no file of Dovecot (passdb "+strings.Join(passdbs(c), ", ")+"): it is changed where it is kept")
		return s, err
	}
	s.name = at.nameOf(s.user)
	s.current = &editing.File{Host: h, Path: at.path, Queue: d.queue}
	if d.PasswdFile != "" {
		s.current.Path = d.PasswdFile
	}
	if d.PasswdFileOld != "" {
		s.old = &editing.File{Host: h, Path: d.PasswdFileOld, Like: s.current.Path, Queue: d.queue}
		why := asks(c, at, d.PasswdFileOld)
		if s.two = why == ""; !s.two {
			s.notes = append(s.notes, "an old password is not taken beside a new one: "+why)
		}
	}
	for _, mechanism := range strings.Fields(c.values["auth_mechanisms"]) {
		if slices.Contains([]string{"cram-md5", "digest-md5", "apop", "scram-sha-1", "scram-sha-256", "otp"}, mechanism) {
			s.notes = append(s.notes, "the next password is kept as SHA512-CRYPT: who signs in by "+strings.ToUpper(mechanism)+" has to change to PLAIN over TLS first")
		}
	}
	return s, nil
}

// entry reads the line of the account.
func (s *seat) entry(ctx context.Context) ([]byte, error) {
	if s.current == nil {
		return nil, invalid("the passwords of this Dovecot are in no file of it (passdb %s), so that they cannot be changed here: name the door of the system that keeps them, such as a directory, which can try them here by its option listeners", strings.Join(passdbs(s.config), ", "))
	}
	line, err := s.lineIn(ctx, s.current)
	if err == nil && line == nil {
		err = s.missing()
	}
	return line, err
}

// lineIn reads the line of the account in a file, nil where it has none.
func (s *seat) lineIn(ctx context.Context, f *editing.File) (line []byte, err error) {
	err = f.Read(ctx, func(text []byte) {
		found, _, _ := entryOf(text, s.name)
		line = bytes.Clone(found)
	})
	return line, err
}

func (s *seat) missing() error {
	return fmt.Errorf("%w: there is no account %s in %s", tallystick.ErrNotFound, s.name, s.current.Path)
}

// A passwdFile is one passdb of that kind.
type passwdFile struct {
	index  int // among all passdbs
	path   string
	format string // of the names in it
}

// nameOf returns what a user is called in the file.
func (p passwdFile) nameOf(user string) string {
	if strings.Contains(p.format, "%L") {
		user = strings.ToLower(user)
	}
	if strings.HasSuffix(p.format, "n") { // %n or %Ln: without the domain
		user, _, _ = strings.Cut(user, "@")
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(user) // so Dovecot looks for it
}

// passdbs names the kinds of all.
func passdbs(c *block) []string {
	var kinds []string
	for _, b := range passdbBlocks(c) {
		kinds = append(kinds, b.values["driver"])
	}
	return slices.Compact(kinds)
}

func passdbBlocks(c *block) []*block {
	return slices.DeleteFunc(slices.Clone(c.blocks), func(b *block) bool { return b.kind != "passdb" })
}

// passwdFiles are the files that let users in by a password.
func passwdFiles(c *block) []passwdFile {
	var all []passwdFile
	for i, b := range passdbBlocks(c) {
		mechanisms := strings.Fields(b.values["mechanisms"])
		plain := len(mechanisms) == 0 || slices.Contains(mechanisms, "plain") || slices.Contains(mechanisms, "login")
		words := strings.Fields(b.values["args"]) // scheme=PLAIN username_format=%n /path
		if b.values["driver"] != "passwd-file" || !plain || b.values["deny"] == "yes" || b.values["pass"] == "yes" || b.values["master"] == "yes" || len(words) == 0 {
			continue
		}
		p := passwdFile{index: i, path: words[len(words)-1]}
		for _, word := range words[:len(words)-1] {
			if format, is := strings.CutPrefix(word, "username_format="); is {
				p.format = format
			}
		}
		all = append(all, p)
	}
	return all
}

// accountsAt finds the file that the accounts are in; nil where there is none.
func (d *door) accountsAt(c *block) (*passwdFile, error) {
	files := slices.DeleteFunc(passwdFiles(c), func(p passwdFile) bool {
		// A path with variables is not one file: the option says which.
		return p.path == d.PasswdFileOld || d.PasswdFile != "" && p.path != d.PasswdFile && !strings.Contains(p.path, "%") ||
			d.PasswdFile == "" && !strings.HasPrefix(p.path, "/")
	})
	switch {
	case len(files) == 0 && d.PasswdFile != "":
		return nil, invalid("Dovecot lets nobody in by a password from %s: what it reads is said by doveconf -c %s passdb", d.PasswdFile, d.Config)
	case len(files) == 0:
		return nil, nil
	case len(files) > 1 || d.PasswdFile == "" && strings.Contains(files[0].path, "%"):
		return nil, invalid("Dovecot reads passwords from several files: say in the option passwd-file which this door is about")
	}
	return &files[0], nil
}

// asks says why Dovecot does not ask a file of old passwords beside the current one, or "".
func asks(c *block, current *passwdFile, old string) string {
	files := passwdFiles(c)
	i := slices.IndexFunc(files, func(p passwdFile) bool { return p.path == old })
	if i < 0 {
		return "no passdb of Dovecot reads " + old
	}
	blocks := passdbBlocks(c)
	first, second := blocks[min(current.index, files[i].index)], blocks[max(current.index, files[i].index)]
	switch skip := second.values["skip"]; {
	case first.values["result_failure"] != "" && first.values["result_failure"] != "continue":
		return "result_failure of the passdb before is not continue"
	case skip != "" && skip != "never" && skip != "authenticated":
		return "the passdb behind has skip = " + skip
	case files[i].format != current.format:
		return "the passdb of " + old + " has another username_format"
	}
	return ""
}

// client signs in to the listeners of this Dovecot, whose certificates are in its files, and to
// those of the option.
func (d *door) client(ctx context.Context, h driver.Host, c *block) (signin.Client, error) {
	client := signin.Client{Host: h}
	for b := range c.all {
		for _, value := range []string{b.values["ssl_cert"], b.values["ssl_alt_cert"]} {
			path := d.file(value)
			if path == "" {
				continue
			}
			text, err := h.ReadFile(ctx, path, installing.MaxFile)
			if err != nil {
				return client, fmt.Errorf("couldn't read the certificate of Dovecot: %w", err)
			}
			if shown := blocking.ReadCertificates(text); len(shown) > 0 {
				client.Pins = append(client.Pins, string(tallystick.FingerprintOf(shown[0].Raw)))
			}
		}
	}
	var err error
	client.Roots, err = signin.Roots(ctx, h, "ca", d.CA)
	return client, err
}

// entrances are where accounts sign in: the listeners of Dovecot, and those of the option.
func (d *door) entrances(c *block) []driver.Listener {
	var all []driver.Listener
	for _, p := range c.ports() {
		if signin.Speaks(p.Protocol) {
			all = append(all, p.Listener)
		}
	}
	return append(all, d.further...)
}
