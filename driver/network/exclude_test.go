// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/tallystick/tallystick"
)

func exclusion(t *testing.T, list ...string) *Exclusion {
	t.Helper()
	x, err := ParseExclusion(list)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestExcludedAddresses(t *testing.T) {
	x := exclusion(t, "10.0.0.0/8", "10.1.0.0/16", "192.0.2.5-192.0.2.9", "[2001:db8::/32]", "::1", " ", "192.0.2.200")
	for text, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false, "9.255.255.255": false,
		"192.0.2.4": false, "192.0.2.5": true, "192.0.2.9": true, "192.0.2.10": false, "192.0.2.200": true,
		"::ffff:10.2.3.4": true, "2001:db8:ffff::1": true, "2001:db9::": false, "::1": true, "::2": false, "fe80::1%x": false,
	} {
		if got := x.Addr(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s excluded: %v, want %v", text, got, want)
		}
	}
}

func TestExcludedNames(t *testing.T) {
	x := exclusion(t, "Old.example.com.", "*.lab.example")
	for name, want := range map[string]bool{
		"old.example.com": true, "OLD.example.com.": true, "very.old.example.com": false,
		"a.lab.example": true, "b.a.lab.example": true, "lab.example": false, "xlab.example": false,
	} {
		if got := x.Name(name); got != want {
			t.Errorf("%s excluded: %v, want %v", name, got, want)
		}
	}
}

func TestNothingIsExcludedByDefault(t *testing.T) {
	var none *Exclusion
	for _, x := range []*Exclusion{none, exclusion(t)} {
		if x.Name("a.example") || x.Addr(netip.MustParseAddr("::1")) {
			t.Error("an empty exclusion excludes")
		}
	}
}

func TestSenselessExclusions(t *testing.T) {
	for _, text := range []string{"10.0.0.0/33", "a b", "10.0.0.9-10.0.0.1", "*.", "host:443"} {
		if _, err := ParseExclusion([]string{text}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", text, err)
		}
	}
}
