// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
)

const (
	// blockedMark begins a line that Block has put out of use, and that Lift puts back.
	blockedMark = "# tallystick has blocked: "
	// addedMark ends the comment of a line that Trust has added, and that Withdraw takes away.
	addedMark = "tallystick-added"
)

// A keyFile is a file of keys, a line each (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
type keyFile struct {
	path  string
	lines []keyLine
}

// A keyLine is one line, with its end.
type keyLine struct {
	text      string
	key       ssh.PublicKey // nil where it has none
	options   []string
	comment   string
	authority bool // certificates of the key get in, and not the key
	blocked   bool
}

// readKeys reads a file of keys; one that is not there has no lines.
func readKeys(ctx context.Context, h driver.Host, path string) (keyFile, error) {
	text, err := h.ReadFile(ctx, path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return parseKeys(path, text), err
}

func parseKeys(path string, text []byte) keyFile {
	f := keyFile{path: path}
	for line := range bytes.Lines(text) {
		f.lines = append(f.lines, parseLine(string(line)))
	}
	return f
}

func parseLine(text string) keyLine {
	line := keyLine{text: text}
	rest, blocked := strings.CutPrefix(text, blockedMark)
	if strings.HasPrefix(strings.TrimSpace(rest), "#") {
		return line
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return line
	}
	line.key, line.comment, line.options, line.blocked = key, comment, options, blocked
	line.authority = slices.ContainsFunc(options, func(o string) bool { return strings.EqualFold(o, "cert-authority") })
	return line
}

// content writes the file.
func (f keyFile) content() []byte {
	var text bytes.Buffer
	for _, line := range f.lines {
		text.WriteString(line.text)
	}
	return text.Bytes()
}

// lets says whether a file lets a key in.
func (f keyFile) lets(key ssh.PublicKey) bool {
	return slices.ContainsFunc(f.lines, func(l keyLine) bool { return l.has(key) })
}

// has says whether a line lets a key in.
func (l keyLine) has(key ssh.PublicKey) bool {
	return l.key != nil && !l.blocked && !l.authority && same(l.key, key)
}

func same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// block puts the lines of a key out of use, or back.
func (f keyFile) block(key ssh.PublicKey, lift bool) {
	for i, line := range f.lines {
		switch {
		case !lift && line.has(key):
			f.lines[i] = parseLine(blockedMark + line.text)
		case lift && line.blocked && same(line.key, key):
			f.lines[i] = parseLine(strings.TrimPrefix(line.text, blockedMark))
		}
	}
}

// trust adds a line for a key behind each line of the one that it shall be like, with the
// same options, and says whether there is one of either.
func (f *keyFile) trust(key, like ssh.PublicKey) (found bool) {
	if f.lets(key) {
		return true
	}
	i := slices.IndexFunc(f.lines, func(l keyLine) bool { return l.has(like) })
	if i < 0 {
		return false
	}
	model := f.lines[i]
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	if len(model.options) > 0 {
		text = strings.Join(model.options, ",") + " " + text
	}
	if !strings.HasSuffix(model.text, "\n") {
		f.lines[i] = parseLine(model.text + "\n")
	}
	f.lines = slices.Insert(f.lines, i+1, parseLine(text+" "+strings.TrimSpace(strings.TrimSuffix(model.comment, addedMark)+" "+addedMark)+"\n"))
	return true
}

// withdraw takes away what trust added.
func (f *keyFile) withdraw(key ssh.PublicKey) {
	f.lines = slices.DeleteFunc(f.lines, func(l keyLine) bool {
		return l.key != nil && same(l.key, key) && strings.HasSuffix(l.comment, addedMark)
	})
}

// remove takes away the lines that let a key in.
func (f *keyFile) remove(key ssh.PublicKey) {
	f.lines = slices.DeleteFunc(f.lines, func(l keyLine) bool { return l.has(key) })
}

// plain returns the key of a credential: that which is certified, where it is a
// certificate.
func plain(p driver.Public) (key ssh.PublicKey, certificate *ssh.Certificate, err error) {
	if len(p.SSH) == 0 {
		return nil, nil, invalid("sshd knows SSH keys and certificates, and no others")
	}
	key, err = ssh.ParsePublicKey(p.SSH)
	if err != nil {
		return nil, nil, invalid("couldn't read the SSH key: %v", err)
	}
	if certificate, ok := key.(*ssh.Certificate); ok {
		return certificate.Key, certificate, nil
	}
	return key, nil, nil
}

// nameOf is the "ssh:" name of a key.
func nameOf(key ssh.PublicKey) string {
	for _, name := range (driver.Public{SSH: key.Marshal()}).Names() {
		if strings.HasPrefix(name, "ssh:") {
			return name
		}
	}
	return ""
}
