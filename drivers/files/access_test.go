// SPDX-License-Identifier: Apache-2.0

package files

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	testPasswd = "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\nbroken\nsecond-root:x:0:0::/r:/bin/sh\n"
	testGroup  = "root:x:0:\nalice:x:1000:\nbob:x:1001:alice\nssl-cert:x:109:www\nwww:x:33:\nbroken:x\n"
)

func TestReaders(t *testing.T) {
	people := newPeople(testPasswd, testGroup)
	type entry struct {
		mode     uint32
		uid, gid uint32
	}
	for _, row := range []struct {
		name string
		dirs []entry
		file entry
		want []string
	}{
		{"plain", []entry{{0o755, 0, 0}}, entry{0o644, 0, 0}, []string{"everybody"}},
		{"owner only", []entry{{0o755, 0, 0}}, entry{0o600, 1000, 1000}, nil},
		{"group", []entry{{0o755, 0, 0}}, entry{0o640, 0, 109}, []string{"group:ssl-cert"}},
		{"own group", []entry{{0o755, 0, 0}}, entry{0o640, 1000, 1000}, nil},
		{"own group with a guest", []entry{{0o755, 0, 0}}, entry{0o640, 1001, 1001}, []string{"group:bob"}},
		{"unknown group", []entry{{0o755, 0, 0}}, entry{0o640, 0, 4711}, []string{"group:gid:4711"}},
		{"in a private directory", []entry{{0o755, 0, 0}, {0o700, 0, 0}}, entry{0o644, 0, 0}, nil},
		{"private directory further up", []entry{{0o700, 0, 0}, {0o755, 0, 0}}, entry{0o666, 0, 0}, nil},
		{"directory of a group", []entry{{0o755, 0, 0}, {0o710, 0, 109}}, entry{0o644, 0, 0}, []string{"group:ssl-cert"}},
		{"searchable though not listable", []entry{{0o711, 0, 0}}, entry{0o644, 0, 0}, []string{"everybody"}},
		{"root's file at a user's home", []entry{{0o755, 0, 0}, {0o700, 1000, 1000}}, entry{0o644, 0, 0}, []string{"user:alice"}},
		{"own file at home", []entry{{0o755, 0, 0}, {0o700, 1000, 1000}}, entry{0o644, 1000, 1000}, nil},
		{"another user's home", []entry{{0o700, 1000, 1000}, {0o700, 1001, 1001}}, entry{0o644, 0, 0}, nil},
	} {
		reach := audience{kind: everybody}
		for _, d := range row.dirs {
			reach = reach.through(&unix.Stat_t{Mode: d.mode, Uid: d.uid, Gid: d.gid})
		}
		got := people.readers(&unix.Stat_t{Mode: row.file.mode, Uid: row.file.uid, Gid: row.file.gid}, reach)
		if d := cmp.Diff(row.want, got); d != "" {
			t.Errorf("%s:\n%s", row.name, d)
		}
	}
}

func TestFactsOfAFile(t *testing.T) {
	root := tree(t)
	key, _ := selfSigned(t)
	write(t, root+"/open/key.pem", key, 0o644)
	write(t, root+"/closed/key.pem", key, 0o644)
	if err := os.Chmod(root+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	b := find(t, nil, root)
	for name, want := range map[string][]string{"open": {"everybody"}, "closed": nil} {
		path := filepath.Join(root, name, "key.pem")
		if len(b.at(path)) != 1 {
			t.Fatalf("%d sightings at %s", len(b.at(path)), path)
		}
		s := b.at(path)[0]
		if d := cmp.Diff(want, s.File.Readers); d != "" || s.File.Mode != "0644" || !s.File.Private || s.File.Passphrase {
			t.Errorf("%s: %+v\n%s", name, s.File, d)
		}
		if d := cmp.Diff(readPeople().user(uint32(os.Getuid())), s.File.Owner); d != "" {
			t.Error(d)
		}
	}
}

func TestAccounts(t *testing.T) {
	people := newPeople(testPasswd, testGroup)
	for path, want := range map[string]string{
		"/home/alice/.ssh/authorized_keys":          "alice",
		"/var/www/.ssh/authorized_keys2":            "www",
		"/root/.ssh/authorized_keys":                "root",
		"/srv/jail/home/carol/.ssh/authorized_keys": "carol",
		"/srv/jail/root/.ssh/authorized_keys":       "root",
		"/etc/ssh/authorized_keys/dave":             "dave",
		"/backup/authorized_keys":                   "bob",
	} {
		if got := people.account(path, &unix.Stat_t{Uid: 1001}); got != want {
			t.Errorf("%s opens %q, want %q", path, got, want)
		}
	}
}
