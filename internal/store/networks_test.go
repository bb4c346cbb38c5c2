// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func TestPlacesHaveNetworks(t *testing.T) {
	for _, c := range []struct {
		place tallystick.Place
		want  string
	}{
		{"tls://10.0.2.7:8443", "10.0.2.0/24"}, {"ssh://10.0.2.7:22", "10.0.2.0/24"}, {"tls://[::ffff:10.0.2.7]:443", "10.0.2.0/24"},
		{"tls://[2001:db8:0:1::7]:443", "2001:db8:0:1::/64"}, {"tls://[fe80::1%eth0]:443", "fe80::/64"},
		{"tls://www.Example.NET:443", "example.net"}, {"tls://example.net:443", "example.net"}, {"tls://localhost:443", "localhost"},
		{"tls://a.b.example.net.:443", "b.example.net"}, {"https://sso.example.net/metadata", "example.net"}, {"tls://[::1]", "::/64"},
		{"file:///etc/ssl", ""}, {"truststore:///etc/ssl", ""}, {"tls://", ""}, {"odd", ""}, {"tls://\xff\x00:1", "\uFFFD\uFFFD"},
	} {
		key := store.NetworkOf(c.place)
		if got := store.NetworkName(key); got != c.want {
			t.Errorf("%s is in %q (%q), want %q", c.place, got, key, c.want)
		}
		if key == "" {
			continue
		}
		if back, err := store.NetworkKey(c.want); err != nil || back != key {
			t.Errorf("%s is kept as %q, and its name leads to %q, %v", c.place, key, back, err)
		}
	}
	for _, name := range []string{"", "10.0.0.0/8", "2001:db8::/32", "a/b", "10.0.0.0/x"} {
		if _, err := store.NetworkKey(name); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q is taken for a network: %v", name, err)
		}
	}
}

func FuzzNetworkOf(f *testing.F) {
	for _, place := range []string{"tls://10.0.2.7:443", "tls://[2001:db8::1%a]:443", "tls://a.b.c:1/x", "ssh://", "x://[", "tls://1.2.3.4.5:1", "tls:// :1"} {
		f.Add(place)
	}
	f.Fuzz(func(t *testing.T, place string) {
		key := store.NetworkOf(tallystick.Place(place))
		if key == "" {
			return
		}
		name := store.NetworkName(key)
		if back, err := store.NetworkKey(name); err != nil || back != key {
			t.Errorf("%q: %q is called %q, which is %q, %v", place, key, name, back, err)
		}
	})
}

func TestNetworksTellWhatIsThere(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := storetest.Open(t, url)
		old := sighting(1, "tls://10.0.10.7:443", noon)
		old.Facts = tallystick.Facts{TLS: &tallystick.TLSFacts{Protocols: []string{"tls1.0", "tls1.2"}}}
		look(t, db, noon, []tallystick.Sighting{sighting(9, "tls://10.0.3.7:443", noon)})
		run, _ := look(t, db, noon, []tallystick.Sighting{
			old, sighting(2, "tls://10.0.10.7:443", noon), sighting(1, "ssh://10.0.10.8:22", noon), sighting(3, "tls://www.example.net:443", noon), sighting(4, "file:///a", noon),
		}, tallystick.Miss{Place: "tls://10.0.2.1:443", Error: "timeout", Seen: noon}, tallystick.Miss{Place: "tls://10.0.10.9:443", Error: "refused", Seen: noon})
		want := []store.Network{
			{Name: "10.0.2.0/24", Protocols: []string{}, Missed: []store.MissCount{{Run: run.ID, Source: "files", Word: "timeout", Count: 1}}},
			{Name: "10.0.10.0/24", Endpoints: 2, Credentials: 2, Protocols: []string{"tls1.0", "tls1.2", "ssh"}, Missed: []store.MissCount{{Run: run.ID, Source: "files", Word: "refused", Count: 1}}},
			{Name: "example.net", Endpoints: 1, Credentials: 1, Protocols: []string{}, Missed: []store.MissCount{}},
		}
		check := func(when string) {
			t.Helper()
			names, err := db.NetworkNames(t.Context(), "", 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []store.Network
			for _, name := range names {
				n, err := db.Network(t.Context(), name)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, n)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		check("as recorded")
		if rest, err := db.NetworkNames(t.Context(), "10.0.2.0/24", 1); err != nil || len(rest) != 1 || rest[0] != "10.0.10.0/24" {
			t.Errorf("after the first: %q, %v", rest, err)
		}
		if none, err := db.Network(t.Context(), "10.9.9.0/24"); err != nil || none.Endpoints != 0 || len(none.Protocols)+len(none.Missed) != 0 {
			t.Errorf("a network of which nothing is known: %+v, %v", none, err)
		}
		places, err := db.Endpoints(t.Context(), "10.0.10.0/24", 10)
		slices.SortFunc(places, func(a, b store.Endpoint) int { return strings.Compare(string(a.Place), string(b.Place)) })
		if err != nil || len(places) != 2 || places[0].Place != "ssh://10.0.10.8:22" || places[1].Credentials != 2 {
			t.Errorf("the endpoints are %+v, %v", places, err)
		}
		if n, err := db.CountPlaces(t.Context(), store.PlaceFilter{Network: "10.0.10.0/24"}); n != 2 || err != nil {
			t.Errorf("%d places, %v", n, err)
		}
		if n, err := db.CountCredentials(t.Context(), store.CredentialFilter{Network: "10.0.10.0/24"}); n != 2 || err != nil {
			t.Errorf("%d credentials, %v", n, err)
		}
		// The upgrade of an older store was killed before its places had networks.
		storetest.Exec(t, url, `UPDATE places SET network = ''`)
		storetest.Exec(t, url, `DELETE FROM settings`)
		for range 2 {
			again, err := store.Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			check("after an upgrade")
		}
		// What was done once is not looked for at each start.
		storetest.Exec(t, url, `UPDATE places SET network = '' WHERE scheme = 'ssh'`)
		again, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if n, err := again.CountPlaces(t.Context(), store.PlaceFilter{Network: "10.0.10.0/24"}); n != 1 || err != nil {
			t.Errorf("%d places have a network after a further start, %v; want 1", n, err)
		}
	})
}

// A page of places that are in no network is not the end of them.
func TestPlacesInNoNetworkDoNotEndTheUpgrade(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := storetest.Open(t, url)
		var seen []tallystick.Sighting
		for n := range store.VanishPage + 1 {
			seen = append(seen, sighting(1, tallystick.Place(fmt.Sprintf("x:///%d", n)), noon))
		}
		look(t, db, noon, seen)
		look(t, db, noon, []tallystick.Sighting{sighting(1, "tls://10.0.2.1:443", noon)})
		storetest.Exec(t, url, `UPDATE places SET network = ''`)
		if err := store.PlaceNetworks(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if names, err := db.NetworkNames(t.Context(), "", 10); err != nil || len(names) != 1 {
			t.Errorf("the networks are %q, %v", names, err)
		}
	})
}
