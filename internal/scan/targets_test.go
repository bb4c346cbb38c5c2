// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/scan"
)

func newScan() *scan.Scan {
	return scan.New(scan.Options{Drivers: drivers.All(), Now: time.Now, Progress: silent{}})
}

func TestTargetsGoToTheirDrivers(t *testing.T) {
	got := sorted(t, newScan(), "/etc", "x.pem", "file:///a%20b", "truststore:///etc/ssl/certs", "10.0.0.0/30:1-2", "mail.example", "SMTP://mail.example", "ssh://10.0.0.1", "host:22", "quic://10.0.0.1", "metadata://idp.example/saml")
	want := scan.Targets{
		Paths: []string{"/etc", "x.pem", "/a b"}, Stores: []string{"truststore:///etc/ssl/certs"},
		Endpoints: map[string][]string{"tls": {"10.0.0.0/30:1-2", "mail.example", "SMTP://mail.example", "host:22", "quic://10.0.0.1"}, "ssh": {"ssh://10.0.0.1"}, "metadata": {"metadata://idp.example/saml"}},
		Size:      14,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsNoTarget(t *testing.T) {
	sorter, err := newScan().Sorter()
	if err != nil {
		t.Fatal(err)
	}
	for text, hint := range map[string]string{"gopher://a.example": "it speaks", "a b": "neither", "tls://a.example": "", "10.0.0.0/33": "block"} {
		if err := sorter.Add(text); text != "tls://a.example" && (!errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), hint)) {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

func TestGarbageInAListIsNamed(t *testing.T) {
	sorter, err := newScan().Sorter()
	if err != nil {
		t.Fatal(err)
	}
	var bad []int
	list := "a.example\n# no\n\n<html>\nssh://b.example\n" + strings.Repeat("x", 1<<20) + "\n\xff\xfe\n"
	if err := sorter.AddList(t.Context(), strings.NewReader(list), func(line int, err error) { bad = append(bad, line) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{4, 6, 7}, bad); diff != "" || sorter.Targets.Size != 2 {
		t.Errorf("%d endpoints, bad lines (-want +got):\n%s", sorter.Targets.Size, diff)
	}
}

// What several drivers that dial have for an option, they explain in the same
// words.
func TestOptionsOfDialling(t *testing.T) {
	help, count := map[string]string{}, 0
	for _, d := range drivers.All() {
		dials := slices.ContainsFunc(d.Options(), func(o driver.Option) bool { return o.Name == "per-host" })
		if !dials {
			continue
		}
		count++
		for _, o := range d.Options() {
			if !slices.Contains([]string{"timeout", "rate", "per-host", "exclude"}, o.Name) {
				continue
			}
			if help[o.Name] != "" && help[o.Name] != o.Help {
				t.Errorf("option %s of %s: %q, and elsewhere %q", o.Name, d.Name(), o.Help, help[o.Name])
			}
			help[o.Name] = o.Help
		}
	}
	if count < 3 || len(help) != 4 {
		t.Errorf("%d drivers with the options %v", count, help)
	}
}
