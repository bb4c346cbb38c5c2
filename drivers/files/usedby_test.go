// SPDX-License-Identifier: Apache-2.0

package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestUsedBy looks at the machine of testdata/machine.txtar: whatever the
// section "want" names is made, and must be used as it says.
func TestUsedBy(t *testing.T) {
	root := tree(t)
	want := layMachine(t, root)
	if err := os.MkdirAll(root+"/etc/nginx/sites-enabled", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../sites-available/shop", root+"/etc/nginx/sites-enabled/shop"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range find(t, nil, root).Sightings {
		var uses []string
		for _, u := range s.File.UsedBy {
			uses = append(uses, fmt.Sprintf("%s %s:%d %s", u.Service, strings.TrimPrefix(u.Config, root+"/"), u.Line, u.As))
		}
		got[strings.TrimPrefix(s.Place.Path(), root+"/")] = strings.Join(uses, ", ")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// layMachine writes the machine beneath root and returns what is wanted.
func layMachine(t *testing.T, root string) map[string]string {
	t.Helper()
	key, certificate := selfSigned(t)
	archive, err := txtar.ParseFile("testdata/machine.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		if f.Name != "want" {
			write(t, filepath.Join(root, f.Name), string(f.Data), 0o644)
			continue
		}
		for line := range strings.Lines(string(f.Data)) {
			path, uses, _ := strings.Cut(strings.TrimSpace(line), ":")
			want[path] = strings.TrimSpace(uses)
			text := certificate
			if strings.Contains(filepath.Base(path), "key") {
				text = key
			}
			write(t, filepath.Join(root, path), text, 0o600)
		}
	}
	return want
}

// A configuration elsewhere names files by absolute paths of this machine.
func TestUsedByOutsideEtc(t *testing.T) {
	root := tree(t)
	key, _ := selfSigned(t)
	write(t, root+"/lab/keys/tls.pem", key, 0o600)
	write(t, root+"/lab/nginx/nginx.conf", "http { server { ssl_certificate_key "+root+"/lab/keys/tls.pem; } }", 0o644)
	b := find(t, nil, root)
	if len(b.Sightings) != 1 || len(b.Sightings[0].File.UsedBy) != 1 {
		t.Fatalf("%+v", b.Sightings)
	}
	if got := b.Sightings[0].File.UsedBy[0]; got.Service != "nginx" || got.Line != 1 || got.As != "key" {
		t.Errorf("%+v", got)
	}
}

// FuzzConfig gives hostile text to the reader of each service.
func FuzzConfig(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/machine.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Add("a {{{ \\")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range services() {
			for _, path := range []string{"/etc/" + s.dirs[0] + "/" + s.mains[0], "/x/etc/" + s.dirs[0] + "/a.ldif"} {
				c := config{path: path, text: text}
				for _, r := range s.read(c) {
					if r.as == "" || r.line < 0 || r.line > strings.Count(text, "\n")+1 {
						t.Errorf("%s: %+v", s.name, r)
					}
					for _, place := range c.places(r) {
						if !filepath.IsAbs(place) {
							t.Errorf("%s: %q is not absolute", s.name, place)
						}
					}
				}
			}
		}
	})
}
