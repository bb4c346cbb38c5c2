// SPDX-License-Identifier: Apache-2.0

package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// readFile looks into one regular file in the second pass.
func (l *look) readFile(d *directory, name string) error {
	l.step()
	return l.readNamed(d, name, classify(name))
}

// readTarget looks into a file that was asked for by its own name: whatever
// that name is, all of the file is read, and finding nothing is worth saying.
func (l *look) readTarget(d *directory, name string) error {
	l.step()
	found, st, err := l.open(d, name, byName)
	switch {
	case err != nil:
		return l.missed(join(d.path, name), err)
	case len(found.Items)+len(found.Problems) == 0:
		return l.miss(join(d.path, name), "no-credential", "")
	}
	return l.report(d, name, st, found)
}

// readNamed looks into a file as far as its name deserves.
func (l *look) readNamed(d *directory, name string, how interest) error {
	if how == never {
		return nil
	}
	found, st, err := l.open(d, name, how)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, errNotRegular):
		return nil // removed, or made a link or a socket, since the directory was read
	case err != nil:
		return l.missed(join(d.path, name), err)
	}
	return l.report(d, name, st, found)
}

// open opens a file and reads it if its first bytes or its name deserve it.
func (l *look) open(d *directory, name string, how interest) (parse.Result, *unix.Stat_t, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, fileFlags, 0) })
	if err != nil {
		return parse.Result{}, nil, err
	}
	defer unix.Close(fd)
	var buf [headSize]byte
	n, err := readHead(fd, buf[:])
	if err != nil || n == 0 {
		return parse.Result{}, nil, err
	}
	head := buf[:n]
	kube, sniffed := isKubeconfig(head), parse.Sniff(head, name)
	if how == byHead && !kube && !sniffed {
		return parse.Result{}, nil, nil
	}
	data, st, err := readAll(fd, l.options.MaxFileSize)
	switch {
	case err != nil:
		return parse.Result{}, nil, err
	case kube:
		return merged(l.parseKubeconfig(name, data, l.budgets.file(st.Uid))), st, nil
	case !sniffed && !bytes.Contains(data, []byte("-----BEGIN ")):
		return parse.Result{}, st, nil
	}
	return merged(parse.BytesWithin(l.ctx, l.budgets.file(st.Uid), name, data, l.passphrases)), st, nil
}

// report tells the sink what is in a file.
func (l *look) report(d *directory, name string, st *unix.Stat_t, found parse.Result) error {
	path := join(d.path, name)
	if len(found.Items) > 0 {
		common := l.factsOf(d, name, st)
		for _, item := range found.Items {
			if err := l.sink.Saw(l.sighting(path, st, common, item)); err != nil {
				return fmt.Errorf("couldn't report a credential: %w", err)
			}
		}
	}
	return l.problems(path, found.Problems)
}

// factsOf returns what holds for the file whatever is in it.
func (l *look) factsOf(d *directory, name string, st *unix.Stat_t) tallystick.FileFacts {
	return tallystick.FileFacts{
		Mode:    fmt.Sprintf("%04o", st.Mode&0o7777),
		Owner:   l.people.user(st.Uid),
		Group:   l.people.group(st.Gid),
		Readers: l.people.readers(st, d.audience),
		UsedBy:  l.services.of(idOf(st), d.id),
		Links:   l.links.to(idOf(st)),
	}
}

// sighting makes a sighting of one item of a file.
func (l *look) sighting(path string, st *unix.Stat_t, common tallystick.FileFacts, item parse.Item) tallystick.Sighting {
	common.Format, common.Alias = item.Format, item.Alias
	common.Private, common.Passphrase, common.WeakPassphrase = item.Private, item.Passphrase, item.WeakPassphrase
	ssh := item.SSH
	if ssh != nil && ssh.Account == "" && item.Format == "authorized_keys" {
		with := *ssh
		with.Account = l.people.account(filepath.Clean(path), st)
		ssh = &with
	}
	return tallystick.Sighting{
		Credential: item.Credential, Place: tallystick.FilePlace(path), Role: item.Role, Seen: l.now(),
		Facts: tallystick.Facts{File: &common, SSH: ssh},
	}
}
