// SPDX-License-Identifier: Apache-2.0

package tallystick_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

func TestNamesOfOneCredentialCompare(t *testing.T) {
	const sha256 = "9a0c1d2e3f405162738495a6b7c8d9eaf00112233445566778899aabbccddeef"
	for _, same := range [][]string{
		{"cert-sha256:" + sha256, "x5t-s256:9A:0C:1D:2E:3F:40:51:62:73:84:95:A6:B7:C8:D9:EA:F0:01:12:23:34:45:56:67:78:89:9A:AB:BC:CD:DE:EF",
			"X5T-S256:mgwdLj9AUWJzhJWmt8jZ6vABEiM0RVZneImaq7zN3u8", "x5t#S256:mgwdLj9AUWJzhJWmt8jZ6vABEiM0RVZneImaq7zN3u8="},
		{"x5t:1949413edcbdebde7abadfbcafbe6ab48d15c218", "x5t:1949413EDCBDEBDE7ABADFBCAFBE6AB48D15C218", "x5t:GUlBPty96956ut-8r75qtI0Vwhg", "x5t:1949413e dcbdebde 7abadfbc afbe6ab4 8d15c218"},
		{"entra-key:7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11", "Entra-Key:{7F1D5C1E-6A1F-4D0E-9B5E-2F6F3B0A9C11}", "entra-key:7f1d5c1e6a1f4d0e9b5e2f6f3b0a9c11"},
		{"account:ldap/uid=svc1,ou=people,dc=lab", "account:LDAP/UID=svc1, OU=People, DC=lab", "account:ldap/uid = svc1,ou=people , dc=lab"},
		{"ssh:SHA256:v4FAmj86e3aW84JPhJNXw3HLfyi2M8uqnQQ4DDvsWPM", "ssh:sha256:v4FAmj86e3aW84JPhJNXw3HLfyi2M8uqnQQ4DDvsWPM",
			"ssh:bf81409a3f3a7b7696f3824f849357c371cb7f28b633cbaa9d04380c3bec58f3"},
		{"spki-sha256:" + sha256, "spki-sha256:sha256//mgwdLj9AUWJzhJWmt8jZ6vABEiM0RVZneImaq7zN3u8="},
	} {
		for _, name := range same[1:] {
			if got, want := tallystick.NormalName(name), tallystick.NormalName(same[0]); got != want {
				t.Errorf("%s compares as %s, and %s as %s", name, got, same[0], want)
			}
		}
	}
}

func TestNamesOfDifferentKindsDoNotCompare(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"x5t:1949413edcbdebde7abadfbcafbe6ab48d15c218", "ssh:1949413edcbdebde7abadfbcafbe6ab48d15c218", "account:x", "x", "entra-key:x", "spki-sha256:x", "cert-sha256:x", "token:x"} {
		form := tallystick.NormalName(name)
		if other, ok := seen[form]; ok {
			t.Errorf("%s and %s compare as %s", name, other, form)
		}
		seen[form] = name
	}
}

// The first two are printed in Microsoft's page on access tokens and in samples
// of sign-in logs.
func TestTokenIdentifiers(t *testing.T) {
	got := map[string]string{}
	for _, uti := range []string{
		"FVsGxYXI30-TuikuuUoFAA", "FVsGxYXI30+TuikuuUoFAA==", "ZDU5MzVkY2EtODZmMi00YWM5LWE0MmMtMzU5M2IwMGFmODAx",
		"C5065B15-C885-4FDF-93BA-292EB94A0500", "", "sign-in_ActivityId", "FVsGxYXI30-TuikuuUoFAB", "not base64 at all!!!!!", "C5065B15C8854FDF93BA292EB94A0500", "{c5065b15-c885-4fdf-93ba-292eb94a0500}", "ZDU5MzVkY2EtODZmMi00YWM5LWE0MmMtMzU5M2IwMGFmODAxAAAA",
	} {
		got[uti] = tallystick.NormalUTI(uti)
	}
	want := map[string]string{
		"FVsGxYXI30-TuikuuUoFAA":                               "c5065b15-c885-4fdf-93ba-292eb94a0500",
		"FVsGxYXI30+TuikuuUoFAA==":                             "c5065b15-c885-4fdf-93ba-292eb94a0500",
		"ZDU5MzVkY2EtODZmMi00YWM5LWE0MmMtMzU5M2IwMGFmODAx":     "d5935dca-86f2-4ac9-a42c-3593b00af801",
		"C5065B15-C885-4FDF-93BA-292EB94A0500":                 "c5065b15-c885-4fdf-93ba-292eb94a0500",
		"C5065B15C8854FDF93BA292EB94A0500":                     "c5065b15-c885-4fdf-93ba-292eb94a0500",
		"{c5065b15-c885-4fdf-93ba-292eb94a0500}":               "c5065b15-c885-4fdf-93ba-292eb94a0500",
		"":                                                     "",
		"sign-in_ActivityId":                                   "sign-in_ActivityId",
		"FVsGxYXI30-TuikuuUoFAB":                               "FVsGxYXI30-TuikuuUoFAB", // its last bits are not zero
		"not base64 at all!!!!!":                               "not base64 at all!!!!!",
		"ZDU5MzVkY2EtODZmMi00YWM5LWE0MmMtMzU5M2IwMGFmODAxAAAA": "ZDU5MzVkY2EtODZmMi00YWM5LWE0MmMtMzU5M2IwMGFmODAxAAAA",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLevelsAreOrdered(t *testing.T) {
	last := -1
	for _, level := range []tallystick.Level{tallystick.LevelSignature, tallystick.LevelRequest, tallystick.LevelToken, tallystick.LevelCall} {
		if level.Rank() <= last {
			t.Errorf("%s does not come after the one before", level)
		}
		last = level.Rank()
	}
}

func TestIdentifiersKeepTheirNames(t *testing.T) {
	ids := tallystick.UseIDs{UTI: "u", Correlation: "c", Request: "r", Session: "s", Queue: "q", Serial: "n", Parent: "p", Other: map[string]string{"jti": "j"}}
	want := map[string]string{"uti": "u", "correlation": "c", "request": "r", "session": "s", "queue": "q", "serial": "n", "parent": "p", "jti": "j"}
	if d := cmp.Diff(want, ids.Map()); d != "" {
		t.Error(d)
	}
}

func TestNamesOfStrangersAreBoundedText(t *testing.T) {
	long := "account:ldap/" + strings.Repeat("x", 1<<20)
	for _, name := range []string{long, strings.Repeat("y", 5000), "x5t:\xff\x00", "account:a\x00b", "spki-sha256:sha256//sha256//x"} {
		normal := tallystick.NormalName(name)
		if len(normal) > 640 || !utf8.ValidString(normal) || strings.Contains(normal, "\x00") {
			t.Errorf("%.40q becomes %.80q", name, normal)
		}
		if again := tallystick.NormalName(normal); again != normal {
			t.Errorf("%.40q becomes %.80q, and that %.80q", name, normal, again)
		}
	}
	if tallystick.NormalName(long) == tallystick.NormalName(long+"z") {
		t.Error("two long names are one")
	}
}
